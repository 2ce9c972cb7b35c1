"""The questions of `gateway init`, in the person's language, each with a default that works."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import questionary

from channels.cli.words import language
from gateway.cli.probes import ProbeFailed, models_of
from gateway.cli.providers import OPENAI, Endpoint, bot_name, deepseek_url, local_endpoints
from gateway.cli.written import SECRET_FIELDS, Answers

_CHINESE = language() == "zh"
_DEMO, _OTHER = "demo", "other"


def _t(english: str, chinese: str) -> str:
    return chinese if _CHINESE else english


class _Left(Exception):
    """The person pressed Ctrl-C, or Ctrl-D."""


def _answer(question: questionary.Question) -> Any:
    """What the person says to it. Raises _Left at Ctrl-C and Ctrl-D, which the library would tell in English."""
    try:
        return question.unsafe_ask()
    except (KeyboardInterrupt, EOFError):
        print()
        raise _Left from None


def _select(prompt: str, choices: Sequence[str | questionary.Choice], default: str | None = None) -> Any:
    keys = _t("(arrow keys, then Enter)", "（方向键选择，回车确认）")
    return _answer(questionary.select(prompt, choices=choices, default=default, instruction=keys))


def ask_everything(base_url: str | None, model: str | None, *, test: bool) -> Answers | None:
    """All the answers; None where the person left."""
    answers = Answers()
    try:
        _ask_model(answers, base_url, model, test=test)
        _ask_channels(answers, test=test)
    except _Left:
        return None
    return answers


def _ask_model(answers: Answers, base_url: str | None, model: str | None, *, test: bool) -> None:
    endpoint = Endpoint("", base_url, os.environ.get("OPENAI_API_KEY", "")) if base_url else _choose_endpoint()
    tried: set[str] = set()
    while endpoint is not None:
        needs_key = (not endpoint.key or endpoint.key in tried) and endpoint.name not in ("Ollama",)
        key = endpoint.key
        if needs_key:
            prompt = _t("API key (empty if none is needed):", "API 密钥（不需要则留空）：")
            key = _answer(questionary.password(prompt)).strip()
        offered: list[str] = []
        if test:
            try:
                offered = list(models_of(endpoint.base_url, key or None))
                questionary.print(_t(f"✓ {len(offered)} models offered", f"✓ 提供 {len(offered)} 个模型"))
            except ProbeFailed as error:
                questionary.print(f"✗ {endpoint.base_url} {error}")
                if not _answer(questionary.confirm(_t("Use it all the same?", "仍然使用？"), default=False)):
                    tried |= {endpoint.key} - {""}
                    endpoint = _choose_endpoint()
                    continue
        answers.base_url = endpoint.base_url
        answers.model = model or _choose_model(endpoint, offered)
        answers.has_key = bool(key)
        if key:
            answers.secrets["MODEL_API_KEY"] = key
        return


def _choose_endpoint() -> Endpoint | None:
    known: dict[str, Endpoint] = {}
    for endpoint in local_endpoints(os.environ):
        known[f"{endpoint.name} ({endpoint.base_url})"] = endpoint
    known["OpenAI"] = Endpoint("OpenAI", OPENAI, os.environ.get("OPENAI_API_KEY", ""))
    known["DeepSeek"] = Endpoint("DeepSeek", deepseek_url(os.environ), os.environ.get("DEEPSEEK_API_KEY", ""))
    choices = [questionary.Choice(name, value=name) for name in known]
    other = _t("another OpenAI-compatible endpoint", "其他兼容 OpenAI 的接口")
    choices.append(questionary.Choice(other, value=_OTHER))
    choices.append(questionary.Choice(_t("none: the built-in demo", "不用：内置演示模型"), value=_DEMO))
    picked = _select(_t("Which model answers?", "使用哪个模型？"), choices)
    if picked == _DEMO:
        return None
    if picked == _OTHER:
        address = _answer(questionary.text(_t("Its address (…/v1):", "接口地址（…/v1）："), validate=_is_url))
        return Endpoint("", address.strip().rstrip("/"))
    return known[picked]


def _is_url(text: str) -> bool | str:
    return text.strip().startswith(("http://", "https://")) or _t("http:// or https://", "以 http:// 或 https:// 开头")


def _choose_model(endpoint: Endpoint, offered: list[str]) -> str:
    default = endpoint.choose(offered)
    prompt = _t("Model:", "模型：")
    if not offered:
        said = _answer(questionary.text(prompt, default=default, validate=lambda text: bool(text.strip())))
    elif len(offered) <= 30:
        said = _select(prompt, offered, default or None)
    else:
        said = _answer(questionary.autocomplete(prompt, choices=offered, default=default))
    return str(said).strip()


def _ask_channels(answers: Answers, *, test: bool) -> None:
    choices = [questionary.Choice(_t("none", "暂不"), value="")]
    choices += [questionary.Choice(name, value=name) for name in SECRET_FIELDS]
    prompt = _t("Connect a chat platform?", "连接聊天平台？")
    while choices:
        picked = _select(prompt, choices)
        if not picked:
            return
        _ask_channel(answers, picked, test=test)
        prompt = _t("Another one?", "再连接一个？")


def _ask_channel(answers: Answers, channel: str, *, test: bool) -> None:
    tried = False
    while True:
        values = {}
        for key, name in SECRET_FIELDS[channel].items():
            there, hint = os.environ.get(name, ""), ""
            if there and tried:
                hint = _t(f" (empty: the one of {name} again)", f"（留空：再次使用 {name}）")
            if not there or tried:
                there = _answer(questionary.password(f"{channel} {key}{hint}:")) or there
            values[key] = there.strip()
        if not test or _works(channel, values):
            break
        if not _answer(questionary.confirm(_t("Try again?", "重试？"), default=True)):
            return
        tried = True
    answers.channels[channel] = _who_may_speak()
    answers.secrets.update({SECRET_FIELDS[channel][key]: value for key, value in values.items()})


def _works(channel: str, values: Mapping[str, str]) -> bool:
    try:
        questionary.print(f"✓ {bot_name(channel, values, os.environ)}")
    except ProbeFailed as error:
        questionary.print(f"✗ {channel} {error}")
        return False
    return True


def _who_may_speak() -> dict[str, object]:
    pairing = _t("whoever I let in by a pairing code", "我用配对码批准的人")
    listed = _t("these ids", "指定的 id")
    everybody = _t("everybody (at your cost)", "所有人（费用由你承担）")
    picked = _select(_t("Who may speak?", "谁可以使用？"), [pairing, listed, everybody])
    if picked == everybody:
        return {"dm_policy": "open", "allow_from": ["*"]}
    if picked == listed:
        text = _answer(questionary.text(_t("Ids, with commas:", "id，逗号分隔：")))
        return {"dm_policy": "allowlist", "allow_from": [each.strip() for each in text.split(",") if each.strip()]}
    return {"dm_policy": "pairing", "allow_from": []}

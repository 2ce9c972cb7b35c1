// Files: given to the gateway and had back from it, both on this origin and with the cookie.

import { bytes, t } from "./i18n.js";
import { h, icon } from "./dom.js";

const PICTURES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/svg+xml"]);

export function urlOf(media) { return `/api/v1/media/${encodeURIComponent(media.media_id)}`; }

/** Keep a file at the gateway. Rejects with the gateway's words. */
export async function upload(file, name = file.name) {
  const form = new FormData();
  form.append("file", file, name);
  const reply = await fetch("/api/v1/media", { method: "POST", body: form, credentials: "same-origin" });
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw Object.assign(new Error(body.error?.message ?? `HTTP ${reply.status}`), { code: body.error?.code });
  return body;
}

/** A kept file as people see it: the picture, the sound, or a link to take it. */
export function shown(media) {
  const mime = media.mime ?? "";
  const name = media.name || t("attach");
  if (PICTURES.has(mime)) {
    const image = h("img", { src: urlOf(media), alt: name, loading: "lazy", decoding: "async" });
    return h("a", { class: "picture", href: urlOf(media), download: name, title: name }, image);
  }
  if (mime.startsWith("audio/")) return h("audio", { controls: true, preload: "metadata", src: urlOf(media), "aria-label": name });
  return h("a", { class: "file", href: urlOf(media), download: name }, icon("file"), h("span", { class: "file-name" }, name),
    h("span", { class: "file-size" }, media.size ? bytes(media.size) : ""));
}

/** Record a voice note: `{stop() -> File, cancel()}`. Rejects where there is no microphone. */
export async function record() {
  if (!navigator.mediaDevices?.getUserMedia || typeof MediaRecorder === "undefined") throw new Error("MediaRecorder");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const type = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"].find((name) => MediaRecorder.isTypeSupported(name)) ?? "";
  const recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
  const pieces = [];
  recorder.ondataavailable = (event) => pieces.push(event.data);
  recorder.start();
  const end = () => new Promise((resolve) => {
    recorder.onstop = () => { for (const track of stream.getTracks()) track.stop(); resolve(); };
    recorder.stop();
  });
  return {
    async stop() {
      await end();
      const mime = recorder.mimeType.split(";")[0] || "audio/webm";
      const extension = { "audio/webm": "webm", "audio/ogg": "ogg", "audio/mp4": "m4a" }[mime] ?? "webm";
      return new File(pieces, `${t("voiceName")}.${extension}`, { type: mime });
    },
    cancel: end,
  };
}

// The one-time code of the login link, exchanged for a cookie that no script can read. The code leaves the
// address bar and the history before anything else happens; every other word of the fragment is ignored.

/** The code in the fragment, which is gone from the URL afterwards; null where there is none. */
export function takeCode() {
  const found = /^#login=([A-Za-z0-9_-]{8,256})$/.exec(location.hash);
  if (location.search || location.hash.startsWith("#login=")) history.replaceState(null, "", location.pathname);
  return found ? found[1] : null;
}

/** The code in what a person pasted: the code itself, or the whole link. */
export function codeIn(text) {
  const found = /(?:#login=|^)([A-Za-z0-9_-]{8,256})$/.exec(text.trim());
  return found ? found[1] : null;
}

/** Trade the code for the cookie. Rejects with an Error that carries the gateway's `code`. */
export async function login(code) {
  const reply = await fetch("/api/v1/login", {
    method: "POST", credentials: "same-origin",
    headers: { "Content-Type": "application/json" }, body: JSON.stringify({ code }),
  });
  if (reply.ok) return;
  const body = await reply.json().catch(() => ({}));
  throw Object.assign(new Error(body.error?.message ?? `HTTP ${reply.status}`), { code: body.error?.code ?? 0 });
}

export async function logout() {
  await fetch("/api/v1/logout", { method: "POST", credentials: "same-origin" });
}

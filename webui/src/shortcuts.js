// The keys: they are listed on the settings page.

export const KEYS = [["Ctrl+K", "keySearch"], ["Ctrl+Shift+O", "keyNew"], ["Esc", "keyStop"], ["/", "keyFocus"]];

export function shortcuts(store, actions, shell) {
  addEventListener("keydown", (event) => {
    if (!shell() || event.isComposing || document.querySelector("dialog[open]")) return;
    const modified = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
    if (modified && key === "k") { event.preventDefault(); actions.drawer(true); }
    else if (modified && event.shiftKey && key === "o") { event.preventDefault(); actions.newChat(); }
    else if (event.key === "Escape") escape(store, actions, shell());
    else if (event.key === "/" && !modified && !event.target.closest("input, textarea, select")) { event.preventDefault(); shell().composer.text.focus(); }
  });
}

function escape(store, actions, shell) {
  if (shell.element.classList.contains("drawer-open")) { actions.drawer(false); shell.menu.focus(); }
  else if (!shell.chat.hidden) actions.stop();
}

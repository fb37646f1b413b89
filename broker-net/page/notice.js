// Short messages about what was done or refused. Screen readers hear them.

import { make } from "./dom.js";

const SHOWN_MS = 6000;
/** More than these push out the oldest. */
const MOST = 4;

let region;

/** The place where notices appear, made once. */
export function notices() {
  region ??= make("div.notices", { role: "status", "aria-live": "polite" });
  return region;
}

function show(kind, text, stays) {
  const close = () => notice.remove();
  const button = make("button.notice-close", { type: "button", "aria-label": "Dismiss", onclick: close }, "×");
  const notice = make(`div.notice.${kind}`, { role: kind === "bad" ? "alert" : null });
  notice.append(make("span.notice-text", text), button);
  notices().append(notice);
  while (notices().children.length > MOST) notices().firstChild.remove();
  if (!stays) setTimeout(close, SHOWN_MS);
}

/** Something was done. */
export const done = (text) => show("good", text, false);

/** Something was refused: stays until it is dismissed. */
export const refused = (error) => show("bad", error.message, true);

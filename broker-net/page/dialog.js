// Dialogs: the browser keeps the focus inside, closes them with Escape and gives the focus back.

import { make } from "./dom.js";
import { form } from "./form.js";

let dialogs = 0;

function open(title, ...content) {
  const id = `dialog-${++dialogs}`;
  const dialog = make("dialog.dialog", { "aria-labelledby": id });
  dialog.append(make("h2", { id }, title), ...content);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks for values and does something with them; stays open with the reason if that fails. Ends when the dialog is closed. */
export function ask({ title, text, fields = [], choice, action, danger, submit }) {
  return new Promise((resolve) => {
    let done = false;
    const close = () => dialog.close();
    const { element } = form({
      fields,
      choice,
      action,
      danger,
      cancel: close,
      submit: async (values) => {
        await submit(values);
        done = true;
        close();
      },
    });
    const dialog = open(title, ...(text ? [make("p.dialog-text", text)] : []), element);
    dialog.addEventListener("close", () => resolve(done));
  });
}

/** Asks whether something is really to be done, and does it. */
export function confirm({ title, text, action, submit }) {
  return ask({ title, text, action, danger: true, fields: [], submit });
}

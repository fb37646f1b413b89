// The form in front of everything else.

import { foreign, h, make } from "./dom.js";
import { session } from "./session.js";

/** Describes the login; `onlogin()` asks who it is, and throws if that is refused. `reason` says why one has to log in again. */
export function login({ reason, onlogin }) {
  return h(
    "main.login",
    { key: "login" },
    h("div.brand", h("span.ring", { "aria-hidden": "true" }), h("h1", "RingMQ")),
    reason && h("p.problem", { role: "alert" }, reason),
    foreign(loginForm(onlogin)),
  );
}

function loginForm(onlogin) {
  const input = (id, name, type, autocomplete) => make("input", { id, name, type, autocomplete, required: true, autocapitalize: "none", spellcheck: "false" });
  const name = input("username", "username", "text", "username");
  const password = input("password", "password", "password", "current-password");
  password.required = false;
  const problem = make("p.problem", { role: "alert", hidden: true });
  const button = make("button.primary", { type: "submit" }, "Log in");
  const form = make("form.form", { onsubmit: submit });
  const field = (label, of) => make("div.field", h("label", { for: of.id }, label), foreign(of));
  form.append(field("User name", name), field("Password", password), problem, button);
  queueMicrotask(() => name.focus());

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    session.open(name.value, password.value);
    try {
      await onlogin();
    } catch (error) {
      session.close();
      problem.textContent = error.unauthenticated ? "This name and password are not accepted." : error.message;
      problem.hidden = false;
      password.select();
      password.focus();
    } finally {
      button.disabled = false;
    }
  }
  return form;
}

// Who is logged in. The password is kept for as long as the tab is open, and nowhere else.

const AUTHORIZATION = "ringmq.authorization";
const VHOST = "ringmq.vhost";

/** The header of an account. Names and passwords may have any characters. */
function basic(name, password) {
  const bytes = new TextEncoder().encode(`${name}:${password}`);
  return `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

export const session = {
  /** The header that goes with every request, or null. */
  get authorization() {
    return sessionStorage.getItem(AUTHORIZATION);
  },

  /** The virtual host that lists are limited to, or an empty text. */
  get vhost() {
    return sessionStorage.getItem(VHOST) ?? "";
  },

  set vhost(name) {
    sessionStorage.setItem(VHOST, name);
  },

  open(name, password) {
    sessionStorage.setItem(AUTHORIZATION, basic(name, password));
  },

  close() {
    sessionStorage.removeItem(AUTHORIZATION);
    sessionStorage.removeItem(VHOST);
  },
};

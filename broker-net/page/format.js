// Numbers, sizes and times as people read them.

const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const NONE = "–";

/** `1,234`, or a dash for what is not known. */
export function count(value) {
  return Number.isFinite(value) ? whole.format(value) : NONE;
}

/** `1.5k`, `12M`: for axes and small places. */
export function compact(value) {
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(value) >= unit) return `${short.format(value / unit)}${letter}`;
  }
  return short.format(value);
}

/** `12/s`. */
export function rate(value) {
  if (!Number.isFinite(value)) return NONE;
  const digits = Math.abs(value) < 10 && value !== 0 ? 1 : 0;
  return `${value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })}/s`;
}

/** `1.5 MiB`. */
export function bytes(value) {
  if (!Number.isFinite(value)) return NONE;
  for (const [unit, name] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (Math.abs(value) >= unit) return `${short.format(value / unit)} ${name}`;
  }
  return `${short.format(value)} B`;
}

/** `1.5 MiB/s`. */
export function byteRate(value) {
  return Number.isFinite(value) ? `${bytes(value)}/s` : NONE;
}

/** `3d 4h`, from milliseconds. */
export function duration(ms) {
  if (!Number.isFinite(ms)) return NONE;
  const seconds = Math.floor(ms / 1000);
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const first = Math.max(0, parts.findIndex(([unit]) => seconds >= unit));
  if (seconds < 1) return "0s";
  let rest = seconds;
  return parts
    .map(([unit, letter]) => {
      const number = Math.floor(rest / unit);
      rest -= number * unit;
      return `${number}${letter}`;
    })
    .slice(first, first + 2)
    .filter((part) => !part.startsWith("0"))
    .join(" ");
}

/** Date and time of day, from milliseconds since the Unix epoch. */
export function moment(ms) {
  if (!Number.isFinite(ms)) return NONE;
  const at = new Date(ms);
  const two = (number) => String(number).padStart(2, "0");
  const date = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${date} ${clock(ms)}`;
}

/** Time of day. */
export function clock(ms) {
  const at = new Date(ms);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map((number) => String(number).padStart(2, "0")).join(":");
}

/** `1 queue`, `2 queues`. */
export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** Values of arguments and parameters. */
export function value(of) {
  return typeof of === "string" ? of : JSON.stringify(of);
}

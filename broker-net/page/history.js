// What the counters of one object were at the looks of this page: the broker keeps samples of its totals only.

/** Looks that are kept of an object, and objects: ten minutes at the usual interval. */
const LOOKS = 130;
const OBJECTS = 20;

const objects = new Map();

/** Keeps a look at `numbers`, and gives all of them in the form that the API gives samples in: the newest first. */
export function look(object, numbers) {
  const looks = objects.get(object) ?? [];
  objects.delete(object);
  objects.set(object, looks);
  if (objects.size > OBJECTS) objects.delete(objects.keys().next().value);
  looks.unshift({ timestamp: Date.now(), numbers });
  if (looks.length > LOOKS) looks.pop();
}

/** Seconds that an object has been looked at: a chart of them begins with one minute and goes up to ten. */
export function span(object) {
  const looks = objects.get(object) ?? [];
  const seconds = looks.length > 0 ? (looks[0].timestamp - looks.at(-1).timestamp) / 1000 : 0;
  return Math.min(600, Math.max(60, Math.ceil(seconds / 60) * 60));
}

/** The samples of one of an object's numbers. */
export function samples(object, name) {
  return (objects.get(object) ?? []).map(({ timestamp, numbers }) => ({ timestamp, sample: numbers[name] ?? 0 }));
}

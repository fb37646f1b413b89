// Lines over time, with axes, a legend that hides and shows lines, and the values at the pointer.

import { h } from "./dom.js";
import * as format from "./format.js";

const HEIGHT = 190;
const MARGIN = { top: 10, right: 10, bottom: 22, left: 46 };

/** How values are written: on the axis and in the legend. */
const UNITS = {
  rate: { axis: format.compact, legend: format.rate, smallest: 0.2 },
  count: { axis: format.compact, legend: format.count, smallest: 1 },
  byteRate: { axis: (value) => format.bytes(value), legend: format.byteRate, smallest: 1 },
};

/**
 * Describes a chart. A line is `{ name, points: [[ms, value], ..] }`, the oldest first; `span` is how many seconds are shown up to
 * the newest point. `context.charts` keeps what the reader has chosen.
 */
export function chart(context, { id, title, unit, lines, span }) {
  const state = (context.charts[id] ??= { width: 640, hidden: new Set(), at: null });
  const redraw = () => context.redraw();
  const end = Math.max(...lines.map(({ points }) => points.at(-1)?.[0] ?? 0));
  const scale = scaleOf(lines.filter(({ name }) => !state.hidden.has(name)), end, span * 1000, state.width, UNITS[unit]);
  const shown = state.at === null ? null : nearest(lines, scale.timeAt(state.at));
  return h(
    "figure.chart",
    { key: `chart-${id}` },
    h(
      "figcaption",
      h("span.chart-title", title),
      h("span.chart-time", shown === null ? span === 60 ? "last minute" : `last ${span / 60} minutes` : format.clock(shown)),
    ),
    h(
      "div.plot",
      { onmount: (element) => watchWidth(element, state, redraw) },
      h(
        "svg",
        {
          width: state.width,
          height: HEIGHT,
          viewBox: `0 0 ${state.width} ${HEIGHT}`,
          role: "img",
          tabindex: 0,
          "aria-label": summary(title, lines, UNITS[unit]),
          onpointermove: (event) => move(state, event.offsetX, redraw),
          onpointerleave: () => move(state, null, redraw),
          onblur: () => move(state, null, redraw),
          onkeydown: (event) => key(state, event, redraw),
        },
        axes(scale, span, UNITS[unit]),
        lines.map(({ name, points }, index) => !state.hidden.has(name) && line(scale, points, index)),
        shown !== null && cursor(scale, shown),
      ),
      end === 0 && h("p.plot-empty", "Collecting the first samples"),
    ),
    legend(lines, state, shown, UNITS[unit], redraw),
  );
}

function scaleOf(lines, end, span, width, { smallest }) {
  const values = lines.flatMap(({ points }) => points.filter(([at]) => at >= end - span).map(([, value]) => value));
  const step = tidyStep(Math.max(smallest, ...values) / 4, smallest);
  const top = step * Math.max(1, Math.ceil(Math.max(smallest, ...values) / step));
  const [innerWidth, innerHeight] = [width - MARGIN.left - MARGIN.right, HEIGHT - MARGIN.top - MARGIN.bottom];
  return {
    end,
    step,
    top,
    width,
    start: end - span,
    x: (at) => MARGIN.left + (1 - (end - at) / span) * innerWidth,
    y: (value) => MARGIN.top + (1 - value / top) * innerHeight,
    timeAt: (x) => end - (1 - (x - MARGIN.left) / innerWidth) * span,
  };
}

/** 1, 2 or 5 times a power of ten, not below `rough`. */
function tidyStep(rough, smallest) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough * 0.999);
  return Math.max(step, smallest);
}

function axes(scale, span, { axis }) {
  const right = scale.width - MARGIN.right;
  const rows = [];
  for (let value = 0; value <= scale.top * 1.001; value += scale.step) {
    const y = Math.round(scale.y(value)) + 0.5;
    rows.push(
      h(value === 0 ? "line.axis" : "line.grid", { x1: MARGIN.left, x2: right, y1: y, y2: y }),
      h("text.tick.tick-value", { x: MARGIN.left - 7, y: y + 4 }, axis(value)),
    );
  }
  if (scale.end === 0) return h("g", rows);
  const every = span * (scale.width < 420 ? 500 : 250);
  const marks = [];
  for (let at = Math.ceil(scale.start / every) * every; at <= scale.end; at += every) {
    const x = scale.x(at);
    if (x < MARGIN.left + 16 || x > right - 16) continue;
    marks.push(h("text.tick.tick-time", { x, y: HEIGHT - 5 }, span > 120 ? format.clock(at).slice(0, 5) : format.clock(at)));
  }
  return h("g", rows, marks);
}

function line(scale, points, index) {
  const inside = points.filter(([at]) => at >= scale.start);
  const steps = inside.map(([at, value]) => `${scale.x(at).toFixed(1)} ${scale.y(Math.max(0, value)).toFixed(1)}`);
  if (steps.length === 1) return h(`circle.dot.hue-${index + 1}`, { cx: scale.x(inside[0][0]), cy: scale.y(Math.max(0, inside[0][1])), r: 2.5 });
  return h(`path.line.hue-${index + 1}`, { d: steps.length > 0 ? `M${steps.join("L")}` : "M0 0" });
}

function cursor(scale, at) {
  const x = Math.round(scale.x(at)) + 0.5;
  return h("line.cursor", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
}

function legend(lines, state, shown, { legend }, redraw) {
  return h(
    "ul.legend",
    lines.map(({ name, points, help }, index) => {
      const visible = !state.hidden.has(name);
      const point = shown === null ? points.at(-1) : points.find(([at]) => at === shown);
      const toggle = () => {
        if (!state.hidden.delete(name)) state.hidden.add(name);
        redraw();
      };
      return h(
        "li",
        { key: name },
        h(
          "button.legend-item",
          { type: "button", "aria-pressed": String(visible), title: help, onclick: toggle },
          h(`span.swatch.hue-${index + 1}`),
          h("span.legend-name", name),
          h("span.legend-value", point ? legend(point[1]) : "–"),
        ),
      );
    }),
  );
}

function summary(title, lines, { legend }) {
  const values = lines.map(({ name, points }) => `${name} ${points.length > 0 ? legend(points.at(-1)[1]) : "unknown"}`);
  return `${title}: ${values.join(", ")}. Arrow keys move through time.`;
}

/** The time of the point that is nearest to `at`. */
function nearest(lines, at) {
  const times = lines.flatMap(({ points }) => points.map(([time]) => time));
  if (times.length === 0) return null;
  return times.reduce((best, time) => (Math.abs(time - at) < Math.abs(best - at) ? time : best));
}

function move(state, x, redraw) {
  if (state.at === x) return;
  state.at = x;
  redraw();
}

function key(state, event, redraw) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  const right = state.width - MARGIN.right;
  const step = Math.max(4, (right - MARGIN.left) / 60);
  move(state, Math.min(right, Math.max(MARGIN.left, (state.at ?? right) + by * step)), redraw);
}

function watchWidth(element, state, redraw) {
  const observer = new ResizeObserver(() => {
    if (!element.isConnected) return observer.disconnect();
    const width = Math.round(element.clientWidth);
    if (width > 0 && width !== state.width) {
      state.width = width;
      redraw();
    }
  });
  observer.observe(element);
}

/** Points of a number's own samples, which the API gives with the newest first. */
export function samplePoints(samples) {
  return (samples ?? []).map(({ timestamp, sample }) => [timestamp, sample]).reverse();
}

/** Points of how fast a counter has grown between its samples. */
export function ratePoints(samples) {
  const points = samplePoints(samples);
  return points.slice(1).map(([at, value], index) => {
    const [before, older] = points[index];
    return [at, Math.max(0, (value - older) / ((at - before) / 1000))];
  });
}

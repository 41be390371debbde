// The dashboard: the last hour as plots and as a table. Each point comes over Belfry's own stream; what was missed while
// the stream was away is fetched.

import { BelfryClient } from "../belfry.js";
import { byId, element } from "./dom.js";
import { here } from "./ids.js";

/** @typedef {import("../vendor/uplot-1.6.32/uPlot.d.ts")} Plot */
/** @typedef {{time: number, seconds: number, workers: number, connections: number, slow: number, messages: number, deliveries: number, errors: number, refusals: number, p50: number | null, p99: number | null}} Point */
/** @typedef {{name: string, color: string, of: (point: Point) => number | null}} Line */

const TOPIC = "belfry.figures";
const HOUR = 3_600;
const LEAST = 300; // seconds that a plot shows at least
const HEIGHT = 150;
const GAP = 1.5; // times the distance of two points: further apart, something is missing between them

/** @type {{title: string, unit: string, lines: Line[]}[]} */
const PLOTS = [
  { title: "Connections", unit: "", lines: [{ name: "Connections", color: "--info", of: (point) => point.connections }] },
  { title: "Messages", unit: "/s", lines: [{ name: "Messages", color: "--accent", of: (point) => point.messages / point.seconds }] },
  { title: "Deliveries", unit: "/s", lines: [{ name: "Deliveries", color: "--success", of: (point) => point.deliveries / point.seconds }] },
  {
    title: "Delivery latency",
    unit: " ms",
    lines: [
      { name: "Latency, median", color: "--success", of: (point) => point.p50 },
      { name: "Latency, 99 %", color: "--warning", of: (point) => point.p99 },
    ],
  },
  { title: "Slow readers", unit: "", lines: [{ name: "Slow readers", color: "--warning", of: (point) => point.slow }] },
  {
    title: "Errors",
    unit: "/min",
    lines: [
      { name: "Errors (5xx)", color: "--error", of: (point) => (point.errors * 60) / point.seconds },
      { name: "Refusals (4xx)", color: "--faint", of: (point) => (point.refusals * 60) / point.seconds },
    ],
  },
];

/** @type {new (options: import("../vendor/uplot-1.6.32/uPlot.d.ts").Options, data: any, parent: HTMLElement) => Plot} */
const UPlot = Reflect.get(globalThis, "uPlot");

/** @type {Point[]} */
let points = [];
let seconds = 5;

/** @param {string} name */
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);

/** @param {number | null | undefined} value @param {string} unit */
function text(value, unit) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString(undefined, { maximumFractionDigits: value < 10 ? 2 : 0 }) + unit;
}

/** @param {number} time */
const minute = (time) => new Date(time * 1_000).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** The points with an empty one where some are missing, so that no line is drawn over what nobody knows. @returns {(Point | {time: number})[]} */
function spaced() {
  return points.flatMap((point, at) => {
    const before = points[at - 1];
    const apart = before !== undefined && point.time - before.time > GAP * point.seconds;
    return apart ? [{ time: before.time + before.seconds }, point] : [point];
  });
}

/** From when until when the plots go: all points, but at least a few minutes. @returns {[number, number]} */
function span() {
  const newest = points.at(-1)?.time ?? HOUR;
  return [Math.min(points[0]?.time ?? newest, newest - LEAST), newest];
}

/** @param {Line[]} lines */
function data(lines) {
  const all = spaced();
  return [all.map(({ time }) => time), ...lines.map(({ of }) => all.map((point) => ("seconds" in point ? of(point) : null)))];
}

/** A plot with its caption, which tells the newest numbers, or those under the pointer. */
class Chart {
  /** @param {typeof PLOTS[number]} what */
  constructor({ title, unit, lines }) {
    this.lines = lines;
    this.unit = unit;
    this.told = element("span", "told");
    this.box = element("div", "plot");
    this.box.setAttribute("role", "img");
    this.figure = element("figure", "card", element("figcaption", "", element("h2", "", title), this.told), this.box);
    byId("plots").append(this.figure);
    this.plot = new UPlot(this.#options(), data(lines), this.box);
    new ResizeObserver(() => this.plot.setSize({ width: this.box.clientWidth, height: HEIGHT })).observe(this.box);
  }

  show() {
    this.plot.setData(/** @type {any} */ (data(this.lines)));
    this.tell();
    this.box.setAttribute("aria-label", `Plot: ${this.told.textContent}; the table has the numbers`);
  }

  /** @param {number | null} [at] which of the plot's places; without one, the newest */
  tell(at) {
    const rows = /** @type {(number | null)[][]} */ (/** @type {unknown} */ (this.plot.data)).slice(1);
    const parts = this.lines.map(({ name, color: tint }, line) => {
      const mark = element("i", "mark");
      mark.style.background = `var(${tint})`;
      const value = at === undefined || at === null ? rows[line]?.at(-1) : rows[line]?.[at];
      return element("span", "", mark, `${name} ${text(value, this.unit)}`);
    });
    this.told.replaceChildren(...parts);
  }

  /** @returns {import("../vendor/uplot-1.6.32/uPlot.d.ts").Options} */
  #options() {
    const axis = { stroke: () => color("--faint"), grid: { stroke: () => color("--line"), width: 1 }, ticks: { show: false } };
    return {
      width: this.box.clientWidth || 300,
      height: HEIGHT,
      padding: [10, 20, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: "hour" }, drag: { x: false, y: false } },
      scales: {
        x: { time: true, range: span },
        y: { range: (_plot, _least, most) => [0, Math.max(1, (most || 0) * 1.1)] },
      },
      axes: [
        { ...axis, size: 28, values: (_plot, times) => times.map(minute) },
        { ...axis, size: 52, values: (_plot, values) => values.map((value) => text(value, "")) },
      ],
      series: [{}, ...this.lines.map(({ name, color: tint }) => ({ label: name, stroke: () => color(tint), width: 1.5, points: { show: false } }))],
      hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx)] },
    };
  }
}

/** @param {(number | null)[]} values */
function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}

/** @param {Line} line @param {string} unit */
function row({ name, of }, unit) {
  const values = points.map(of);
  const known = values.filter((value) => value !== null);
  const most = known.length === 0 ? null : known.reduce((high, value) => Math.max(high, value), 0);
  const title = element("th", "", name);
  title.setAttribute("scope", "row");
  return element("tr", "", title, ...[values.at(-1), mean(values), most].map((value) => element("td", "", text(value, unit))));
}

function show() {
  const oldest = (points.at(-1)?.time ?? 0) - HOUR;
  points = points.filter(({ time }) => time > oldest);
  const workers = points.at(-1)?.workers ?? 0;
  const rows = PLOTS.flatMap(({ lines, unit }) => lines.map((line) => row(line, unit)));
  byId("figures").replaceChildren(row({ name: "Workers", color: "", of: (point) => point.workers }, ""), ...rows);
  byId("state").textContent = points.length === 0 ? "nothing yet" : `${workers === 1 ? "1 worker" : `${workers} workers`}, a point every ${seconds} s`;
  for (const chart of charts) chart.show();
}

/** @param {Point} point */
function add(point) {
  if (point.time <= (points.at(-1)?.time ?? 0)) return;
  points.push(point);
  show();
}

async function fetchAll() {
  const answer = await fetch(here("/admin/figures")).catch(() => null);
  byId("problem").textContent = answer?.ok ? "" : "The figures can't be fetched now.";
  if (!answer?.ok) return;
  /** @type {{seconds: number, points: Point[]}} */
  const told = await answer.json();
  seconds = told.seconds;
  // A point may have come over the stream while this answer was on its way.
  const newest = told.points.at(-1)?.time ?? 0;
  points = [...told.points, ...points.filter(({ time }) => time > newest)];
  show();
}

const charts = PLOTS.map((what) => new Chart(what));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(({ plot }) => plot.redraw()));

const client = new BelfryClient({ topics: [TOPIC] });
client.on(TOPIC, add);
client.on("state", (state) => state === "live" && fetchAll()); // points are not kept in any feed: fill what was missed
await fetchAll();
await client.open();
setInterval(() => {
  if (client.state !== "live" && !document.hidden) fetchAll();
}, seconds * 1_000);

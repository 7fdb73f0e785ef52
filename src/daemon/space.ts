/** How full the file system of a repository is, in bytes and in inodes, and when it will be full if it goes on so. */
import { readFileSync, statfsSync } from 'node:fs';
import { timestamp } from '../base/clock.js';
import { parseObject } from '../base/json-object.js';
import { writeAtomically } from '../repository/durable.js';
import { appendLines } from '../repository/journal-file.js';
import type { Layout } from '../repository/layout.js';

interface Usage {
  readonly totalBytes: number;
  /** What an unprivileged writer may still use. */
  readonly freeBytes: number;
  /** Null where the file system makes inodes as it needs them. */
  readonly totalInodes: number | null;
  readonly freeInodes: number | null;
}

export interface Space extends Usage {
  /** Until it is full, by the trend of the last days; null where it does not grow, or nobody knows yet. */
  readonly bytesDaysLeft: number | null;
  readonly inodesDaysLeft: number | null;
}

interface Sample {
  readonly atMs: number;
  readonly freeBytes: number;
  readonly freeInodes: number | null;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A trend needs to see a night and a day. */
const TREND_MS_MIN = DAY_MS;
const TREND_MS = 7 * DAY_MS;
const LINES_MAX = 1500;

/** @throws as statfs(2) */
function usageOf(dir: string): Usage {
  const { bsize, blocks, bavail, files, ffree } = statfsSync(dir);
  const counts = files > 0;
  return {
    totalBytes: bsize * blocks,
    freeBytes: bsize * bavail,
    totalInodes: counts ? files : null,
    freeInodes: counts ? ffree : null,
  };
}

/** The use now and the trend of the samples that were noted. */
export function spaceOf(layout: Layout, nowMs: number): Space {
  const usage = usageOf(layout.dir);
  const samples = [...readSamples(layout), { atMs: nowMs, ...usage }].filter(
    ({ atMs }) => atMs <= nowMs && nowMs - atMs <= TREND_MS,
  );
  return {
    ...usage,
    bytesDaysLeft: daysLeft(samples.map(({ atMs, freeBytes }) => [atMs, freeBytes])),
    inodesDaysLeft: daysLeft(
      samples.flatMap(({ atMs, freeInodes }) => (freeInodes === null ? [] : [[atMs, freeInodes]])),
    ),
  };
}

/** Notes the use where the last note is an hour old. A file system that cannot take the line says so elsewhere. */
export function noteUsage(layout: Layout, nowMs: number): void {
  const samples = readSamples(layout);
  const last = samples.at(-1);
  if (last !== undefined && last.atMs <= nowMs && nowMs - last.atMs < HOUR_MS) return;
  const { freeBytes, freeInodes } = usageOf(layout.dir);
  const line = { time: timestamp(() => new Date(nowMs)), freeBytes, freeInodes };
  if (samples.length < LINES_MAX) {
    appendLines(layout.space, [line]);
    return;
  }
  const kept = samples.slice(-LINES_MAX / 2).map(({ atMs, ...rest }) => ({ time: new Date(atMs), ...rest }));
  writeAtomically(layout.space, [...kept, line].map((one) => `${JSON.stringify(one)}\n`).join(''), 0o600);
}

/** By the line through all points that misses them least. */
function daysLeft(points: readonly (readonly number[])[]): number | null {
  const [firstMs = 0] = points[0] ?? [];
  const [lastMs = 0, free = 0] = points.at(-1) ?? [];
  if (lastMs - firstMs < TREND_MS_MIN) return null;
  const xs = points.map(([atMs = 0]) => (atMs - firstMs) / DAY_MS);
  const ys = points.map(([, value = 0]) => value);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(xs), mean(ys)];
  const products = xs.map((x, index) => (x - meanX) * ((ys[index] ?? 0) - meanY));
  const squares = xs.map((x) => (x - meanX) ** 2);
  const slope = mean(products) / mean(squares);
  return slope < 0 ? free / -slope : null;
}

function readSamples(layout: Layout): Sample[] {
  let text: string;
  try {
    text = readFileSync(layout.space, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line) => parseSample(line) ?? []);
}

function parseSample(line: string): Sample | null {
  const { time, freeBytes, freeInodes } = parseObject(line) ?? {};
  const atMs = Date.parse(String(time));
  if (!Number.isFinite(atMs) || typeof freeBytes !== 'number') return null;
  return { atMs, freeBytes, freeInodes: typeof freeInodes === 'number' ? freeInodes : null };
}

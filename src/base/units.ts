/** Sizes and durations as people write them, and back. */
import { CairnError } from './errors.js';
import { visible } from './visible.js';

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1024,
  kib: 1024,
  kb: 1000,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  mb: 1000 ** 2,
  g: 1024 ** 3,
  gib: 1024 ** 3,
  gb: 1000 ** 3,
  t: 1024 ** 4,
  tib: 1024 ** 4,
  tb: 1000 ** 4,
  p: 1024 ** 5,
  pib: 1024 ** 5,
  pb: 1000 ** 5,
};

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

/** Bytes of `65536`, `64KiB`, `10G`, `1.5TB`: `K`, `KiB` are 1024, `KB` is 1000, as coreutils has it.
 *  @throws {CairnError} USAGE when it is no size, no whole number of bytes, or above 2^53 - 1 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const factor = SIZE_UNITS[match?.[2]?.toLowerCase() ?? '?'];
  const bytes = match === null || factor === undefined ? Number.NaN : Number(match[1]) * factor;
  if (!Number.isSafeInteger(bytes)) {
    throw new CairnError('USAGE', `“${visible(text)}” is not a size.`, {
      hint: 'Write bytes or a number with a unit: 65536, 64KiB, 10G, 500MB.',
    });
  }
  return bytes;
}

/** Whether it is a size or an offset in bytes that a number holds exactly. */
export function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** Milliseconds of `90`, `90s`, `5m`, `1h30m`, `30d`; a bare number is seconds.
 *  @throws {CairnError} USAGE */
export function parseDuration(text: string): number {
  const trimmed = text.trim().toLowerCase();
  if (/^\d+$/.test(trimmed) && Number.isSafeInteger(Number(trimmed) * 1000)) return Number(trimmed) * 1000;
  let totalMs = trimmed === '' ? Number.NaN : 0;
  const rest = trimmed.replace(/(\d+(?:\.\d+)?)(ms|[smhdw])/g, (_, amount: string, unit: string) => {
    totalMs += Number(amount) * (DURATION_UNITS_MS[unit] ?? Number.NaN);
    return '';
  });
  if (rest !== '' || !Number.isSafeInteger(totalMs)) {
    throw new CairnError('USAGE', `“${visible(text)}” is not a duration.`, {
      hint: 'Write a number with a unit: 30s, 5m, 1h30m, 30d; a bare number is seconds.',
    });
  }
  return totalMs;
}

/** `0 B`, `512 B`, `64 KiB`, `1.5 GiB`: binary units, three significant digits. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  // 999.5 KiB would print as four digits, so the next unit takes over there; bytes are exact to their last.
  while (value >= (unit === 0 ? 1024 : 999.5) && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = unit === 0 || Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(3)));
  return `${text} ${units[unit]}`;
}

/** `850 ms`, `12.3 s`, `4 min 05 s`, `3 h 20 min`, `2 d 4 h`. */
export function formatDuration(durationMs: number): string {
  if (durationMs < 1000) return `${Math.round(durationMs)} ms`;
  if (durationMs < 59_950) return `${(durationMs / 1000).toFixed(1)} s`;
  const seconds = Math.round(durationMs / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  const days = Math.floor(hours / 24);
  if (minutes < 60) return `${minutes} min ${String(seconds % 60).padStart(2, '0')} s`;
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, '0')} min`;
  return `${days} d ${hours % 24} h`;
}

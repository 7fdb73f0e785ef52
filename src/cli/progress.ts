/** Progress of a long operation on a terminal's last line; nothing anywhere else. */
import type { JobProgress } from '../native/types.js';
import type { Output, OutputStream } from './output.js';
import { progressLine } from './progress-line.js';
import { Rate } from './rate.js';
import { drawsUnicode } from './style.js';

/** Often enough to look alive, seldom enough to cost nothing over a slow connection. */
const REDRAW_MS_MIN = 100;

export interface Progress {
  /** Made to be handed on as `onProgress`. */
  readonly update: (progress: JobProgress) => void;
  /** Takes the line away. Idempotent. */
  readonly stop: () => void;
}

const SILENT: Progress = { update: () => {}, stop: () => {} };

/** `stream` is the terminal to draw on, or null where nobody watches. */
export function startProgress(
  stream: OutputStream | null,
  output: Output,
  label: string,
  now: () => number = Date.now,
): Progress {
  if (stream === null) return SILENT;
  const rate = new Rate(now());
  let drawnMs = Number.NEGATIVE_INFINITY;
  const update = (progress: JobProgress) => {
    const nowMs = now();
    if (nowMs - drawnMs < REDRAW_MS_MIN) return;
    drawnMs = nowMs;
    rate.add(progress.doneBytes, nowMs);
    const { totalBytes, doneBytes } = progress;
    const line = progressLine(progress, {
      label,
      // A terminal that does not know its width says 0. The last column stays free: some wrap as soon as it is written.
      columns: (stream.columns || 80) - 1,
      unicode: drawsUnicode(),
      bytesPerSecond: rate.bytesPerSecond,
      remainingMs: totalBytes === null ? null : rate.remainingMs(totalBytes - doneBytes),
    });
    output.status(line);
  };
  return { update, stop: () => output.status('') };
}

/** Running a long native job: its progress is polled, and a signal ends it. */
import { CairnError } from '../base/errors.js';
import type { Job, JobProgress } from '../native/index.js';

export interface JobOptions {
  /** Ends the operation with CANCELLED; nothing half-made is left. */
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: JobProgress) => void) | undefined;
}

const POLL_MS = 200;

/** Resolves or rejects as the job does. After an abort it still waits for the job to have cleaned up.
 *  @throws {CairnError} whatever the job ends with; CANCELLED */
export async function runJob<T>(start: () => Job<T>, { signal, onProgress }: JobOptions): Promise<T> {
  refuseCancelled(signal);
  const job = start();
  const cancel = () => job.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  // Without anybody to tell, the timer still keeps the process alive, which the job alone does not.
  const timer = setInterval(() => onProgress?.(job.progress()), POLL_MS);
  try {
    const result = await job.result();
    onProgress?.(job.progress());
    return result;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', cancel);
  }
}

/** `promise`, or CANCELLED as soon as the signal is given. */
export async function untilCancelled<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  refuseCancelled(signal);
  if (signal === undefined) return await promise;
  let listener = () => {};
  const cancelled = new Promise<never>((_, reject) => {
    listener = () => reject(new CairnError('CANCELLED', 'Cancelled.'));
    signal.addEventListener('abort', listener, { once: true });
  });
  try {
    return await Promise.race([promise, cancelled]);
  } finally {
    signal.removeEventListener('abort', listener);
  }
}

/** @throws {CairnError} CANCELLED */
export function refuseCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new CairnError('CANCELLED', 'Cancelled.');
}

/** Jobs of QEMU’s block layer. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { Message } from './line-socket.js';
import { type Qmp, QmpRefusal } from './qmp.js';

const JOB_MS_MAX = 60_000;
const POLL_MS = 20;

/** Runs a job that ends by itself and is dismissed by hand.
 *  @throws {QmpRefusal} with what the job failed of; {CairnError} SOURCE_FAILED */
export async function runBlockJob(qmp: Qmp, id: string, command: string, parameters: object): Promise<void> {
  await qmp.execute(command, { 'job-id': id, ...parameters });
  const job = await until(qmp, id, (found) => found === undefined || found['status'] === 'concluded');
  if (job === undefined) return;
  await qmp.execute('job-dismiss', { id });
  if (typeof job['error'] === 'string') throw new QmpRefusal(command, visible(job['error'], 300));
}

export async function findJob(qmp: Qmp, id: string): Promise<Message | undefined> {
  return (await qmp.list('query-jobs')).find((job) => job['id'] === id);
}

/** Ends a job where there is one; resolves when it has let go of its nodes.
 *  @throws {CairnError} SOURCE_FAILED */
export async function endJob(qmp: Qmp, id: string): Promise<void> {
  const job = await findJob(qmp, id);
  if (job === undefined) return;
  const isOver = job['status'] === 'concluded';
  await tolerant(qmp.execute(isOver ? 'job-dismiss' : 'job-cancel', { id }));
  const left = await until(qmp, id, (found) => found === undefined || found['status'] === 'concluded');
  if (left !== undefined) await tolerant(qmp.execute('job-dismiss', { id }));
}

/** It may have ended by itself just now. */
export async function tolerant(answer: Promise<unknown>): Promise<void> {
  try {
    await answer;
  } catch (error) {
    if (!(error instanceof QmpRefusal)) throw error;
  }
}

async function until(
  qmp: Qmp,
  id: string,
  isReached: (job: Message | undefined) => boolean,
): Promise<Message | undefined> {
  const deadlineMs = performance.now() + JOB_MS_MAX;
  for (;;) {
    const job = await findJob(qmp, id);
    if (isReached(job)) return job;
    if (performance.now() > deadlineMs) {
      const what = `The job “${id}” of QEMU does not end; it is ${visible(String(job?.['status']))}.`;
      throw new CairnError('SOURCE_FAILED', what, { hint: 'See whether the machine’s storage answers.' });
    }
    await sleep(POLL_MS);
  }
}

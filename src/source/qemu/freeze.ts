/** Doing something while a guest is frozen, or while it is not, and telling which of both it was. */

import { agentSocket } from './agent-socket.js';
import { FREEZE_LIMITS, FreezeFailed, type FreezeLimits, Guard } from './guard.js';
import type { ThawAnswer } from './guard-protocol.js';
import { isFrozenMark, type Names } from './names.js';
import type { Qmp } from './qmp.js';
import { record } from './qmp.js';
import type { QemuSpec } from './spec.js';

export interface Reached {
  /** `frozen` only where the guest was proven to be frozen from before `work` until after it. */
  readonly consistency: 'frozen' | 'snapshot';
  /** Null where the guest was not frozen. */
  readonly freeze: { readonly durationMs: number; readonly fileSystems: number } | null;
  /** Sentences: why it is no more than a snapshot. */
  readonly warnings: readonly string[];
}

/** Freezes the guest, does `work`, and thaws whatever comes of it. `work` is done exactly once, frozen or not; a freeze that
 *  fails is a warning.
 *  @throws what `work` throws; {CairnError} SOURCE_FAILED where QEMU is lost */
export async function whileFrozen(
  qmp: Qmp,
  names: Names,
  agent: QemuSpec['agent'],
  work: () => Promise<void>,
  limits: FreezeLimits = FREEZE_LIMITS,
): Promise<Reached> {
  const marks = await frozenMarks(qmp);
  if (agent === 'none') {
    await work();
    const warnings = marks.length === 0 ? [] : [LEFT_FROZEN];
    return { consistency: 'snapshot', freeze: null, warnings };
  }
  const guard = await armed(qmp, agent, marks, limits);
  if (guard instanceof FreezeFailed) {
    await work();
    return notFrozen(guard.message);
  }
  try {
    return await frozenBy(guard, qmp, names, work);
  } finally {
    guard.close();
  }
}

const LEFT_FROZEN =
  'A backup was killed while the guest was frozen, and agent=none keeps this one from seeing whether it still is: run fsfreeze or virsh domfsthaw by hand, or leave agent=none out once.';

function notFrozen(reason: string): Reached {
  const what = `The guest was not frozen, so the revision is as after a power cut: ${reason}.`;
  return { consistency: 'snapshot', freeze: null, warnings: [what] };
}

/** A guard whose guest is not frozen, or why there is none. What a dead backup has left frozen is thawed. */
async function armed(
  qmp: Qmp,
  agent: Exclude<QemuSpec['agent'], 'none'>,
  marks: readonly string[],
  limits: FreezeLimits,
): Promise<Guard | FreezeFailed> {
  const { running } = record(await qmp.execute('query-status')) ?? {};
  if (running !== true) return new FreezeFailed('the machine is paused');
  const found = await agentSocket(qmp, agent);
  if ('reason' in found) return new FreezeFailed(found.reason);
  try {
    const { guard, status } = await Guard.start(found.socket, limits);
    try {
      if (status === 'frozen' && marks.length === 0)
        throw new FreezeFailed('another program has frozen it already');
      if (status === 'frozen') await guard.thaw();
      await removeMarks(qmp, marks);
      return guard;
    } catch (error) {
      guard.close();
      throw error;
    }
  } catch (error) {
    if (error instanceof FreezeFailed) return new FreezeFailed(`the guest agent: ${error.message}`);
    throw error;
  }
}

async function frozenBy(guard: Guard, qmp: Qmp, names: Names, work: () => Promise<void>): Promise<Reached> {
  const mark = { driver: 'null-co', 'node-name': names.frozen, 'read-only': true };
  await qmp.execute('blockdev-add', mark);

  let failure: { error: unknown } | null = null;
  const frozen = await guard.freeze().catch(asFailure);
  try {
    await work();
  } catch (error) {
    failure = { error };
  }
  const thawed = frozen instanceof FreezeFailed ? frozen : await guard.thaw().catch(asFailure);
  const isOpen = thawed instanceof FreezeFailed && thawed.isOpen;
  // A QEMU that is lost fails `work`, too.
  if (!isOpen) await removeMarks(qmp, [names.frozen]).catch((error) => (failure ??= { error }));
  if (failure !== null) throw failure.error;
  return reached(frozen, thawed);
}

function reached(frozen: number | FreezeFailed, thawed: ThawAnswer | FreezeFailed): Reached {
  if (thawed instanceof FreezeFailed || frozen instanceof FreezeFailed) {
    const failed = thawed instanceof FreezeFailed ? thawed : frozen;
    const { message, isOpen } = failed as FreezeFailed;
    const { warnings, ...rest } = notFrozen(`the guest agent: ${message}`);
    return { ...rest, warnings: isOpen ? [...warnings, STILL_FROZEN] : warnings };
  }
  const { wasFrozen, fileSystems, durationMs } = thawed;
  if (frozen === 0) return notFrozen('the guest agent has found no file system that can be frozen');
  if (!wasFrozen) return notFrozen('it was thawed before everything was ready');
  if (fileSystems < frozen)
    return notFrozen(`of ${frozen} file systems that were frozen only ${fileSystems} still were at the end`);
  return { consistency: 'frozen', freeze: { durationMs, fileSystems: frozen }, warnings: [] };
}

const STILL_FROZEN =
  'The guest may still be frozen: a process named “cairn guard” goes on asking its agent to thaw. See the machine’s console.';

function asFailure(error: unknown): FreezeFailed {
  if (error instanceof FreezeFailed) return error;
  throw error;
}

async function frozenMarks(qmp: Qmp): Promise<string[]> {
  const nodes = await qmp.list('query-named-block-nodes', { flat: true });
  return nodes.map((node) => String(node['node-name'])).filter(isFrozenMark);
}

async function removeMarks(qmp: Qmp, marks: readonly string[]): Promise<void> {
  for (const mark of marks) await qmp.execute('blockdev-del', { 'node-name': mark });
}

/** Which socket the guest agent of a machine answers on, as QEMU itself tells it. */
import path from 'node:path';
import { visible } from '../../base/visible.js';
import { type Qmp, QmpRefusal } from './qmp.js';
import type { QemuSpec } from './spec.js';

/** What qemu-ga opens in a guest unless it is told otherwise. */
const PORT = 'org.qemu.guest_agent.0';
const DEVICES = ['/machine/peripheral', '/machine/peripheral-anon'];

/** The socket, or why there is none: a clause.
 *  @throws {CairnError} SOURCE_FAILED where QEMU is lost */
export async function agentSocket(
  qmp: Qmp,
  agent: Exclude<QemuSpec['agent'], 'none'>,
): Promise<{ socket: string } | { reason: string }> {
  if (agent !== 'auto') return agent;
  const chardev = await portChardev(qmp);
  if (chardev === null) return { reason: 'the machine has no channel for a guest agent' };
  const found = (await qmp.list('query-chardev')).find(({ label }) => label === chardev);
  if (found?.['frontend-open'] === false) return { reason: 'the guest agent does not run in the guest' };
  const { filename = '' } = found ?? {};
  // As in `disconnected:unix:/run/vm1.qga,server=on`.
  const [, socket] = /^(?:disconnected:)?unix:(.*?)(?:,server=on|,server)$/s.exec(String(filename)) ?? [];
  if (socket !== undefined && path.isAbsolute(socket)) return { socket };
  const reason = `the guest agent’s channel is ${visible(String(filename))}, which is no socket with an absolute path; name it with ?agent=<socket>`;
  return { reason };
}

async function portChardev(qmp: Qmp): Promise<string | null> {
  for (const devices of DEVICES) {
    const children = await asked(qmp.list('qom-list', { path: devices }), []);
    for (const { name, type } of children) {
      if (type !== 'child<virtserialport>') continue;
      const device = `${devices}/${name}`;
      const get = (property: string) => asked(qmp.execute('qom-get', { path: device, property }), null);
      if ((await get('name')) !== PORT) continue;
      const chardev = await get('chardev');
      if (typeof chardev === 'string') return chardev;
    }
  }
  return null;
}

/** What a machine does not have it refuses to show. */
async function asked<T>(answer: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof QmpRefusal) return otherwise;
    throw error;
  }
}

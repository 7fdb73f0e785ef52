/** A disk of a machine, as QEMU’s block layer has it. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { Message } from './line-socket.js';
import { objects, type Qmp, record } from './qmp.js';

export interface MachineDisk {
  /** The node that the guest’s reads and writes go to; Cairn’s own are never on top of it when this is asked for backups. */
  readonly node: string;
  /** The driver of that node: `qcow2`, `raw`, … */
  readonly format: string;
  /** As QEMU was told: a path, a URL or a description in JSON. */
  readonly image: string;
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  readonly bitmaps: readonly Bitmap[];
}

/** A dirty bitmap. */
export interface Bitmap {
  readonly name: string;
  readonly isRecording: boolean;
  /** Whether another operation uses it. */
  readonly isBusy: boolean;
  /** Whether QEMU ended without having saved it. */
  readonly isInconsistent: boolean;
  readonly isPersistent: boolean;
  readonly granularityBytes: number;
}

/** Finds a disk by the name of its device (`-drive id=`, `-device …,id=`) or of its node. The node of a device is the one
 *  that is on top, whatever snapshots were taken.
 *  @throws {CairnError} USAGE; SOURCE_FAILED where QEMU is lost */
export async function findDisk(qmp: Qmp, name: string): Promise<MachineDisk> {
  const devices = await qmp.list('query-block');
  const nodes = await qmp.list('query-named-block-nodes', { flat: true });
  const device = devices.find(
    (each) => each['device'] === name || each['qdev'] === name || idOf(String(each['qdev'] ?? '')) === name,
  );
  if (device !== undefined) {
    const { 'node-name': top } = record(device['inserted']) ?? {};
    if (typeof top !== 'string') throw refused(name, 'it has no medium');
    return described(name, nodes, top);
  }
  if (nodes.some((node) => node['node-name'] === name)) return described(name, nodes, name);
  const known = [...devices.map(nameOf), ...nodes.map((node) => String(node['node-name']))];
  throw new CairnError('USAGE', `The machine has no device or block node “${visible(name)}”.`, {
    hint: `It has ${
      [...new Set(known)]
        .filter((each) => each !== '' && !each.startsWith('#'))
        .map((each) => visible(each))
        .slice(0, 20)
        .join(', ') || 'none'
    }.`,
  });
}

/** Of `/machine/peripheral/disk0/virtio-backend`, `disk0`. */
function idOf(qdev: string): string {
  return /^\/machine\/peripheral\/([^/]+)/.exec(qdev)?.[1] ?? '';
}

function nameOf(device: Message): string {
  const qdev = String(device['qdev'] ?? '');
  return String(device['device'] ?? '') || idOf(qdev) || qdev;
}

function described(name: string, nodes: readonly Message[], top: string): MachineDisk {
  const node = nodes.find((each) => each['node-name'] === top);
  const image = record(node?.['image']);
  const sizeBytes = image?.['virtual-size'];
  if (node === undefined || typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes))
    throw refused(name, 'QEMU does not tell how large it is');
  return {
    node: top,
    format: String(node['drv']),
    image: String(image?.['filename'] ?? ''),
    sizeBytes,
    isReadOnly: node['ro'] === true,
    bitmaps: objects(node['dirty-bitmaps']).map(bitmap),
  };
}

function bitmap(told: Message): Bitmap {
  return {
    name: String(told['name'] ?? ''),
    isRecording: told['recording'] === true,
    isBusy: told['busy'] === true,
    isInconsistent: told['inconsistent'] === true,
    isPersistent: told['persistent'] === true,
    granularityBytes: Number(told['granularity']),
  };
}

function refused(name: string, reason: string): CairnError {
  return new CairnError('USAGE', `The disk “${visible(name)}” of the machine cannot be read: ${reason}.`);
}

/** A disk of a running machine of QEMU: read as it was at one moment while the machine goes on, and after the first time
 *  only where QEMU says that something has changed. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { Footing, OpenSource, Source, SourceDescription } from '../source.js';
import { findDisk } from './machine-disk.js';
import {
  type DiskRequest,
  endDisk,
  endServer,
  exportName,
  type Moment,
  type MomentDisk,
  noteOf,
  takeMoment,
} from './moment.js';
import { Qmp, record } from './qmp.js';
import { parseQemuSpec, type QemuSpec } from './spec.js';
import { Watch } from './watch.js';

/** `block-export-add` takes bitmaps of another node since then. */
const VERSION_MIN = [7, 1] as const;
/** How long another client of the monitor is waited for. */
const TURN_MS_MAX = 10_000;

export class QemuSource implements Source {
  readonly spec: string;
  readonly repeatable = true;
  readonly #parsed: QemuSpec;

  /** @param text what follows `qemu:`
   *  @throws {CairnError} USAGE */
  constructor(text: string) {
    this.#parsed = parseQemuSpec(text);
    this.spec = this.#parsed.spec;
  }

  async inspect(): Promise<SourceDescription> {
    const qmp = await connected(this.#parsed);
    try {
      const { sizeBytes, image } = await findDisk(qmp, this.#parsed.disk);
      const { name } = record(await qmp.execute('query-name')) ?? {};
      const { UUID: uuid } = record(await qmp.execute('query-uuid')) ?? {};
      const machine = typeof name === 'string' ? name : null;
      return { spec: this.spec, kind: 'qemu', machine, uuid, device: this.#parsed.disk, image, sizeBytes };
    } finally {
      qmp.close();
    }
  }

  async open(footing: Footing): Promise<OpenSource> {
    const [opened] = await openTogether([{ source: this, footing }]);
    return opened as OpenSource;
  }

  request(footing: Footing): DiskRequest {
    return { spec: this.#parsed, footing };
  }
}

/** Opens disks of one machine at the same moment; in the order of `wanted`. Each must be closed.
 *  @throws {CairnError} USAGE | LOCKED | SOURCE_FAILED | NO_SPACE | CANCELLED */
export async function openTogether(
  wanted: readonly [{ source: QemuSource; footing: Footing }, ...{ source: QemuSource; footing: Footing }[]],
): Promise<OpenSource[]> {
  const [first, ...others] = wanted.map(({ source, footing }) => source.request(footing));
  const requests = [first as DiskRequest, ...others] as const;
  const { spec } = requests[0];
  const stranger = others.find((other) => other.spec.socket !== spec.socket);
  if (stranger !== undefined)
    throw new CairnError(
      'USAGE',
      `${visible(stranger.spec.spec)} is not of the machine behind ${visible(spec.socket)}, so there is no moment of both.`,
    );
  const qmp = await connected(spec);
  try {
    return openDisks(qmp, await takeMoment(qmp, requests));
  } catch (error) {
    qmp.close();
    throw error;
  }
}

async function connected({ socket }: QemuSpec): Promise<Qmp> {
  const qmp = await Qmp.connect(socket, TURN_MS_MAX);
  const [major, minor] = qmp.version;
  if (major > VERSION_MIN[0] || (major === VERSION_MIN[0] && minor >= VERSION_MIN[1])) return qmp;
  qmp.close();
  const what = `The machine behind ${visible(socket)} runs in QEMU ${major}.${minor}; Cairn needs ${VERSION_MIN.join('.')}.`;
  throw new CairnError('USAGE', what, { hint: 'Update QEMU and start the machine anew.' });
}

function openDisks(qmp: Qmp, moment: Moment): OpenSource[] {
  const { disks } = moment;
  const log = (disks[0] as MomentDisk).footing.log;
  const watch = new Watch(qmp, disks, log);
  const open = new Set(disks);
  const last = async () => {
    await watch.end();
    try {
      await endServer(qmp, disks);
    } finally {
      qmp.close();
    }
  };
  return disks.map(
    (disk) =>
      new OpenDisk(qmp, moment, disk, watch, async () => {
        open.delete(disk);
        if (open.size === 0) await last();
      }),
  );
}

class OpenDisk implements OpenSource {
  readonly native: OpenSource['native'];
  readonly consistency: OpenSource['consistency'];
  readonly changes: OpenSource['changes'];
  readonly claims?: NonNullable<OpenSource['claims']>;
  readonly reason: string | null;
  readonly description: Record<string, unknown>;
  readonly warnings: readonly string[];
  readonly #qmp: Qmp;
  readonly #disk: MomentDisk;
  readonly #watch: Watch;
  readonly #onClose: () => Promise<void>;
  #hasEnded = false;
  #isClosed = false;

  constructor(
    qmp: Qmp,
    { reached, nbdSocket, claims }: Moment,
    disk: MomentDisk,
    watch: Watch,
    onClose: () => Promise<void>,
  ) {
    this.#qmp = qmp;
    this.#disk = disk;
    this.#watch = watch;
    this.#onClose = onClose;
    const { names, tracking, warnings } = disk;
    const { node, format } = disk.disk;
    this.native = { nbd: { socket: nbdSocket, exportName: exportName(disk) } };
    const claimed = claims.get(disk);
    if (claimed !== undefined) this.claims = claimed;
    const isDiff = tracking.from !== null && claimed === undefined;
    this.changes = isDiff ? { from: tracking.from, bitmap: names.changes } : undefined;
    this.reason = tracking.from === null ? tracking.reason : null;
    this.consistency = reached.consistency;
    this.warnings = [...warnings, ...reached.warnings];
    const { freeze } = reached;
    this.description = { node, format, bitmap: noteOf(disk), ...(freeze === null ? {} : { freeze }) };
  }

  confirmed = async (): Promise<void> => {
    await this.#watch.confirm(this.#disk);
  };

  explain = this.confirmed;

  committed = async (): Promise<readonly string[]> => {
    try {
      this.#hasEnded = true;
      return await endDisk(this.#qmp, this.#disk, true);
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      return [`The revision is taken, but not everything could be taken away in QEMU: ${error.message}`];
    }
  };

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      if (!this.#hasEnded) await endDisk(this.#qmp, this.#disk, false);
    } catch (error) {
      // Whatever led here is told; the next backup takes away what is left.
      this.#disk.footing.log.warn({ err: error }, 'not everything could be taken away in QEMU');
    }
    try {
      await this.#onClose();
    } catch (error) {
      this.#disk.footing.log.warn({ err: error }, 'the NBD server of QEMU could not be stopped');
    }
  }
}

/** Source specs: a path, `file:<path>`, `exec:<command>`, `stream:-`, `rbd:<pool>/<image>`,
 *  `qemu:<monitor’s socket>/<device or node>`. */
import { existsSync } from 'node:fs';
import { CairnError } from '../base/errors.js';
import { visible } from '../base/visible.js';
import { ExecSource } from './exec-source.js';
import { PathSource } from './path-source.js';
import { QemuSource } from './qemu/qemu-source.js';
import { RbdSource } from './rbd/rbd-source.js';
import type { Source } from './source.js';
import { StreamSource } from './stream-source.js';

/** What `--size` says: bytes, or that nobody knows. */
export type StreamSize = number | 'unknown';

/** @throws {CairnError} USAGE */
export function parseSource(spec: string, size?: StreamSize): Source {
  if (spec === '' || spec.includes('\0')) throw new CairnError('USAGE', 'The source is not a path.');
  const [, scheme, rest = ''] = /^([a-z][a-z0-9+-]*):(.*)$/s.exec(spec) ?? [];
  switch (scheme) {
    case 'exec':
      return execSource(rest, size);
    case 'stream':
      return streamSource(rest, size);
    case 'file':
      return pathSource(rest, size);
    case 'rbd':
      refuseSize(size, 'An image of Ceph');
      return new RbdSource(rest);
    case 'qemu':
      refuseSize(size, 'A machine');
      return new QemuSource(rest);
    case undefined:
      return pathSource(spec, size);
    default:
      if (existsSync(spec)) return pathSource(spec, size);
      throw new CairnError('USAGE', `“${visible(scheme)}:” is not a known kind of source.`, {
        hint: `Write a path, file:<path>, exec:<command>, rbd:<pool>/<image>, qemu:<monitor’s socket>/<device> or stream:-; for a file of that name, ./${visible(spec)}.`,
      });
  }
}

function pathSource(file: string, size: StreamSize | undefined): Source {
  if (file === '') throw new CairnError('USAGE', 'The source file: names no path.');
  refuseSize(size, 'A file or device');
  return new PathSource(file);
}

function refuseSize(size: StreamSize | undefined, what: string): void {
  if (size === undefined) return;
  throw new CairnError('USAGE', `${what} knows its own size.`, { hint: 'Leave --size out.' });
}

function execSource(command: string, size: StreamSize | undefined): Source {
  if (command.trim() === '') {
    throw new CairnError('USAGE', 'The source exec: names no command.', {
      hint: 'Write exec:<command>, as in --source "exec:ssh host dd if=/dev/sda".',
    });
  }
  return new ExecSource(command, size === undefined || size === 'unknown' ? null : size);
}

function streamSource(name: string, size: StreamSize | undefined): Source {
  if (name !== '-') {
    throw new CairnError(
      'USAGE',
      `“stream:${visible(name)}” is not a source; the one stream is standard input.`,
      {
        hint: 'Write stream:-',
      },
    );
  }
  if (size === undefined) {
    throw new CairnError(
      'USAGE',
      'A stream does not tell how long it is, so a cut one could pass for a whole disk.',
      {
        hint: 'Give --size <bytes>, or --size unknown to take whatever comes.',
      },
    );
  }
  return new StreamSource(size === 'unknown' ? null : size);
}

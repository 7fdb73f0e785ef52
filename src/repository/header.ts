/** cairn.json: what makes a directory a repository. */
import { randomUUID } from 'node:crypto';
import { closeSync, constants, existsSync, fstatSync, openSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { timestamp } from '../base/clock.js';
import { CairnError } from '../base/errors.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import type { Codec } from '../native/index.js';
import { writeDurably } from './durable.js';
import { type Layout, REPOSITORY_FORMAT } from './layout.js';

/** How new disks are made. */
export interface DiskDefaults {
  readonly blockSizeBytes: number;
  readonly compression: Codec;
}

export interface RepositoryHeader {
  readonly format: number;
  /** A UUID. */
  readonly id: string;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly defaults: DiskDefaults;
}

export const BLOCK_SIZE_BYTES_DEFAULT = 64 * 1024;
export const COMPRESSION_DEFAULT: Codec = 'zstd';
export const CODECS: readonly Codec[] = ['zstd', 'lz4', 'plain'];
const SIZE_BYTES_MAX = 1024 ** 2;
/** What open(2) says of a path that leads to nothing. */
const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG']);
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A power of two from 4 KiB to 4 MiB. */
export function isBlockSize(bytes: number): boolean {
  return Number.isInteger(Math.log2(bytes)) && bytes >= 4096 && bytes <= 4 * 1024 ** 2;
}

/** @throws {CairnError} NOT_A_REPOSITORY | NOT_PERMITTED | FORMAT_TOO_NEW | CORRUPT | IO */
export function readHeader(layout: Layout): RepositoryHeader {
  const text = readText(layout);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw damaged(layout, 'it is not JSON', cause);
  }
  const fields = record(parsed);
  if (fields === null) throw damaged(layout, 'it is not a JSON object');
  const { format, id, createdAt, defaults: given } = fields;
  if (typeof format !== 'number' || !Number.isInteger(format) || format < 1)
    throw damaged(layout, 'its format is missing');
  if (format > REPOSITORY_FORMAT) {
    const what = `${visible(layout.dir)} is a repository of format ${format}, and this version of cairn knows ${REPOSITORY_FORMAT} at most.`;
    throw new CairnError('FORMAT_TOO_NEW', what, {
      hint: 'Use the newer cairn that made it. Nothing was changed.',
    });
  }
  if (typeof id !== 'string' || !UUID.test(id)) throw damaged(layout, 'its id is not a UUID');
  if (typeof createdAt !== 'string' || Number.isNaN(Date.parse(createdAt)))
    throw damaged(layout, 'createdAt is not a time');
  return { format, id, createdAt, defaults: defaults(layout, record(given)) };
}

/** Writes a cairn.json in the place of one that is lost. The id is a new one; nothing depends on it.
 *  @throws what the file system says */
export function rebuildHeader(layout: Layout): void {
  const header: RepositoryHeader = {
    format: REPOSITORY_FORMAT,
    id: randomUUID(),
    createdAt: timestamp(),
    defaults: { blockSizeBytes: BLOCK_SIZE_BYTES_DEFAULT, compression: COMPRESSION_DEFAULT },
  };
  writeDurably(layout.header, headerText(header));
}

/** The text of cairn.json. */
export function headerText(header: RepositoryHeader): string {
  return `${JSON.stringify(header, null, 2)}\n`;
}

function defaults(layout: Layout, fields: Record<string, unknown> | null): DiskDefaults {
  const { blockSizeBytes, compression } = fields ?? {};
  if (typeof blockSizeBytes !== 'number' || !isBlockSize(blockSizeBytes)) {
    throw damaged(layout, 'defaults.blockSizeBytes is not a power of two from 4096 to 4194304');
  }
  const codec = CODECS.find((known) => known === compression);
  if (codec === undefined) throw damaged(layout, `defaults.compression is none of ${CODECS.join(', ')}`);
  return { blockSizeBytes, compression: codec };
}

function readText(layout: Layout): string {
  let fd: number;
  try {
    // Without waiting for a writer where a pipe stands in its place.
    fd = openSync(layout.header, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw cannotOpen(layout, cause as NodeJS.ErrnoException);
  }
  try {
    if (!fstatSync(fd).isFile()) throw damaged(layout, 'it is no regular file');
    if (fstatSync(fd).size > SIZE_BYTES_MAX) throw damaged(layout, 'it is far too long');
    return readFileSync(fd, 'utf8');
  } catch (cause) {
    throw cause instanceof CairnError
      ? cause
      : systemError(`${visible(layout.header)} cannot be read`, cause);
  } finally {
    closeSync(fd);
  }
}

function cannotOpen(layout: Layout, cause: NodeJS.ErrnoException): CairnError {
  const dir = visible(layout.dir);
  if (cause.code === 'EACCES' || cause.code === 'EPERM') {
    return new CairnError('NOT_PERMITTED', `The repository ${dir} cannot be read: permission denied.`, {
      hint: 'Run cairn as its owner, or with sudo.',
      cause,
    });
  }
  if (!ABSENT.has(cause.code ?? '')) return systemError(`${visible(layout.header)} cannot be read`, cause);
  if (holdsDisks(layout)) return lost(`${visible(layout.header)} is missing, though there are disks.`, cause);
  const why =
    cause.code === 'ENOENT' ? 'it holds no cairn.json' : `cairn.json cannot be there (${cause.code})`;
  return new CairnError('NOT_A_REPOSITORY', `${dir} is not a Cairn repository: ${why}.`, {
    hint: `Check -r or CAIRN_REPOSITORY, or make one with “cairn init -r ${dir}”.`,
    cause,
  });
}

function holdsDisks(layout: Layout): boolean {
  try {
    return readdirSync(layout.disks).some((name) => existsSync(path.join(layout.disks, name, 'disk.json')));
  } catch {
    return false;
  }
}

function damaged(layout: Layout, why: string, cause?: unknown): CairnError {
  return lost(`${visible(layout.header)} is damaged: ${why}.`, cause);
}

function lost(message: string, cause: unknown): CairnError {
  return new CairnError('CORRUPT', message, {
    hint: 'The disks do not depend on it: put a copy back, or make a new repository with “cairn init” and move the directories in disks/ to its own.',
    cause,
  });
}

function record(value: unknown): Record<string, unknown> | null {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : null;
}

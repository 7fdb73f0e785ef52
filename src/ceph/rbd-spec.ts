/** `rbd:<pool>[/<namespace>]/<image>[?id=…&conf=…&timeout=…]`: which image, and how its cluster is reached. */
import path from 'node:path';
import { CairnError } from '../base/errors.js';
import { parseDuration } from '../base/units.js';
import { visible } from '../base/visible.js';

export interface RbdSpec {
  readonly pool: string;
  /** Null for the default one. */
  readonly namespace: string | null;
  readonly image: string;
  /** Of the Ceph user, without “client.”; null leaves it to the configuration of Ceph. */
  readonly id: string | null;
  /** An absolute path; null leaves it to CEPH_CONF and /etc/ceph/ceph.conf. */
  readonly conf: string | null;
  /** How long an answer of the cluster is waited for. */
  readonly timeoutMs: number;
}

/** Long enough for a cluster that moves data after the loss of a host, short enough for a night's other jobs. */
const TIMEOUT_MS_DEFAULT = 120_000;
const HINT = 'Write rbd:<pool>/<image> or rbd:<pool>/<namespace>/<image>, as in rbd:vms/web?id=backup.';

/** `rest` is what follows “rbd:”.
 *  @throws {CairnError} USAGE */
export function parseRbd(rest: string): RbdSpec {
  const [names = '', query = ''] = splitOnce(rest, '?');
  const parts = names.split('/');
  const [pool = '', namespace, image = ''] = parts.length === 3 ? parts : [parts[0], null, parts[1]];
  if (parts.length < 2 || parts.length > 3 || parts.some((part) => !isName(part))) {
    const isSnapshot = names.includes('@');
    const what = isSnapshot
      ? `“rbd:${visible(rest)}” names a snapshot; Cairn makes its own.`
      : `“rbd:${visible(rest)}” does not name an image.`;
    throw new CairnError('USAGE', what, { hint: HINT });
  }
  const given = new Map(readQuery(rest, query));
  const conf = given.get('conf');
  return {
    pool,
    namespace: namespace ?? null,
    image,
    id: given.get('id') ?? null,
    conf: conf === undefined ? null : path.resolve(conf),
    timeoutMs: given.has('timeout') ? parseDuration(given.get('timeout') ?? '') : TIMEOUT_MS_DEFAULT,
  };
}

/** The spec that gives it again from any working directory. */
export function formatRbd({ pool, namespace, image, id, conf, timeoutMs }: RbdSpec): string {
  const query = [
    ...(id === null ? [] : [`id=${encodeURIComponent(id)}`]),
    ...(conf === null ? [] : [`conf=${encodeURIComponent(conf).replaceAll('%2F', '/')}`]),
    ...(timeoutMs === TIMEOUT_MS_DEFAULT ? [] : [`timeout=${timeoutMs / 1000}s`]),
  ].join('&');
  const names = [pool, ...(namespace === null ? [] : [namespace]), image].join('/');
  return `rbd:${names}${query === '' ? '' : `?${query}`}`;
}

function readQuery(rest: string, query: string): [string, string][] {
  return query
    .split('&')
    .filter((part) => part !== '')
    .map((part) => {
      const [key = '', value = ''] = splitOnce(part, '=');
      if (!['id', 'conf', 'timeout'].includes(key) || value === '') {
        throw new CairnError(
          'USAGE',
          `“${visible(part)}” in “rbd:${visible(rest)}” says nothing of a cluster.`,
          {
            hint: 'What may follow the “?” is id=<user>, conf=<file> and timeout=<duration>, with “&” between them.',
          },
        );
      }
      return [key, decoded(value)];
    });
}

function decoded(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

/** Names that are their own text in every place of a command. */
function isName(text: string): boolean {
  return /^[^-/@\s\p{Cc}][^/@\s\p{Cc}]*$/u.test(text);
}

function splitOnce(text: string, at: string): [string, string | undefined] {
  const index = text.indexOf(at);
  return index < 0 ? [text, undefined] : [text.slice(0, index), text.slice(index + 1)];
}

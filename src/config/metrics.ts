/** `metrics:` of the configuration: where the daemon gives its metrics to. */
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import path from 'node:path';
import { visible } from '../base/visible.js';
import type { Document, Entry } from './document.js';
import { byKey, given, readSwitch, readText } from './values.js';

export interface ListenAddress {
  /** An address or a name, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** One of both is given, or both are. */
export interface MetricsConfig {
  readonly listen: ListenAddress | null;
  /** Absolute; its name ends in `.prom`. */
  readonly textfile: string | null;
}

const METRICS_KEYS = ['listen', 'listen-anywhere', 'textfile'] as const;
const LISTEN_HINT = 'Write an address and a port: “127.0.0.1:9477” or “[::1]:9477”.';
const PORT_MAX = 65_535;

/** @throws {CairnError} CONFIG_INVALID */
export function readMetrics(document: Document, entry: Entry): MetricsConfig {
  const says = byKey(document.under(entry, METRICS_KEYS));
  const anywhere = says.get('listen-anywhere');
  const isAnywhere = readSwitch(anywhere);
  const listen = given(says.get('listen'), (address) => readListen(address, isAnywhere), null);
  const textfile = given(says.get('textfile'), readTextfile, null);
  if (listen === null && anywhere !== undefined)
    anywhere.fail('“listen-anywhere” widens “listen”, and there is none.', LISTEN_HINT);
  if (listen === null && textfile === null)
    entry.fail('“metrics” names neither “listen” nor “textfile”.', LISTEN_HINT);
  return { listen, textfile };
}

/** Who reaches the address reads the names of all disks and how they stand, since nobody is asked for a password. */
function readListen(entry: Entry, isAnywhere: boolean): ListenAddress {
  const match = /^(?:\[([^[\]]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(readText(entry).trim());
  const [, bracketed, plain, digits] = match ?? [];
  const host = bracketed ?? plain ?? '';
  const port = Number(digits);
  const isHost = bracketed === undefined ? host !== '' : isIPv6(bracketed);
  if (!isHost || !(port >= 1 && port <= PORT_MAX))
    return entry.fail('“listen” must be an address with a port.', LISTEN_HINT);
  if (!isAnywhere && !isLoopback(host))
    return entry.fail(
      `“listen” names ${visible(host)}, which other machines may reach.`,
      'Take 127.0.0.1 or [::1], or write “listen-anywhere: true” beside it: anybody who reaches the address can read ' +
        'the metrics then.',
    );
  return { host, port };
}

function isLoopback(host: string): boolean {
  if (host === 'localhost') return true;
  const loopback = new BlockList();
  loopback.addSubnet('127.0.0.0', 8, 'ipv4');
  loopback.addAddress('::1', 'ipv6');
  if (isIPv4(host)) return loopback.check(host, 'ipv4');
  return isIPv6(host) && loopback.check(host, 'ipv6');
}

function readTextfile(entry: Entry): string {
  const file = readText(entry);
  const isRight = path.isAbsolute(file) && path.extname(file) === '.prom';
  return isRight
    ? path.normalize(file)
    : entry.fail(
        '“textfile” must be an absolute path that ends in “.prom”.',
        'node_exporter reads no other files: “/var/lib/prometheus/node-exporter/cairn.prom”.',
      );
}

/** `qemu:<monitor’s socket>/<device or node>[?agent=<socket>|none][&overlay=<directory>]` */
import path from 'node:path';
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';

export interface QemuSpec {
  /** What gives it again from any working directory. */
  readonly spec: string;
  readonly socket: string;
  /** The name of a device or of a block node. */
  readonly disk: string;
  /** The guest agent’s socket; `auto` is asked of QEMU, and `none` leaves the guest alone. */
  readonly agent: 'auto' | 'none' | { readonly socket: string };
  /** Where QEMU may make a file that holds what is replaced meanwhile; null for beside the image. */
  readonly overlayDirectory: string | null;
}

/** @param text what follows `qemu:`
 *  @throws {CairnError} USAGE */
export function parseQemuSpec(text: string): QemuSpec {
  const at = text.indexOf('?');
  const place = at < 0 ? text : text.slice(0, at);
  const slash = place.lastIndexOf('/');
  const disk = place.slice(slash + 1);
  if (slash < 1 || disk === '') throw refused(text, 'it names no device');
  const options = parseOptions(text, at < 0 ? '' : text.slice(at + 1));
  const socket = path.resolve(place.slice(0, slash));
  const { agent, overlay } = options;
  const overlayDirectory = overlay === undefined ? null : absolute(text, overlay);
  const agentOf = (): QemuSpec['agent'] => {
    if (agent === undefined) return 'auto';
    return agent === 'none' ? 'none' : { socket: absolute(text, agent) };
  };
  const words = Object.entries(options).map(([name, value]) => `${name}=${encode(value)}`);
  const spec = `qemu:${socket}/${disk}${words.length === 0 ? '' : `?${words.join('&')}`}`;
  return { spec, socket, disk, agent: agentOf(), overlayDirectory };
}

type Options = { agent?: string; overlay?: string };

function parseOptions(text: string, words: string): Options {
  const options: Options = {};
  for (const word of words.split('&').filter((each) => each !== '')) {
    const [, name = word, value = ''] = /^([^=]*)=(.*)$/s.exec(word) ?? [];
    if (name !== 'agent' && name !== 'overlay') throw refused(text, `“${visible(name)}” is no option of it`);
    if (value === '') throw refused(text, `${name} has no value`);
    options[name] = decode(text, value);
  }
  return options;
}

function absolute(text: string, place: string): string {
  if (!path.isAbsolute(place)) throw refused(text, `${visible(place)} is no absolute path`);
  return path.normalize(place);
}

function encode(value: string): string {
  return value.replace(/[%&?]/g, encodeURIComponent);
}

function decode(text: string, value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    throw refused(text, '“%” begins no code of two digits');
  }
}

function refused(text: string, reason: string): CairnError {
  return new CairnError('USAGE', `The source qemu:${visible(text)} cannot be used: ${reason}.`, {
    hint: 'Write qemu:<monitor’s socket>/<device or node>, and after “?” agent=<socket>, agent=none or overlay=<directory>, with “&” between them.',
  });
}

/** What mount(8) calls for the type `cairn` (`bin/mount.cairn`), so that a line of /etc/fstab mounts a repository:
 *  `<repository> <directory> [-sfnv] [-N namespace] [-t type] [-o options]`. */
import { resolve } from 'node:path';
import { CairnError } from '../base/errors.js';
import { nearest } from '../base/nearest.js';
import { visible } from '../base/visible.js';
import { ENGINE_NAMES, type EngineName } from '../mount/engine/engine.js';

export interface FstabMount {
  readonly repository: string;
  readonly mountpoint: string;
  readonly disks: readonly string[];
  readonly engine?: EngineName;
  readonly group?: string;
  readonly allowOther: boolean;
  /** Only checks what it is asked for (`-f`). */
  readonly fake: boolean;
  readonly verbose: boolean;
}

/** Options of our own; `disk` may come several times. */
const OWN_OPTIONS = ['allow_other', 'disk', 'engine', 'group'] as const;

/** What mount(8), systemd and the kernel know to be meant for them, or what a mount of a repository is anyway. */
const GENERIC_OPTIONS = new Set(
  'ro defaults auto noauto nofail _netdev user nouser users owner group_owner nosuid nodev noexec exec suid dev noatime atime nodiratime diratime relatime norelatime strictatime nostrictatime lazytime nolazytime sync async dirsync silent loud'.split(
    ' ',
  ),
);

/** @throws {CairnError} USAGE */
export function parseFstabMount(argv: readonly string[]): FstabMount {
  const operands: string[] = [];
  const options: string[] = [];
  const flags = new Set<string>();
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === '-o') options.push(...(words.shift() ?? '').split(','));
    else if (word === '-t') words.shift();
    else if (word === '-N') throw usage('Mounting in another namespace is left to nsenter(1).');
    else if (/^-[sfnv]+$/.test(word)) for (const letter of word.slice(1)) flags.add(letter);
    else if (/^-./.test(word)) throw usage(`mount.cairn has no option ${visible(word)}.`);
    else operands.push(word);
  }
  const [repository, mountpoint, surplus] = operands;
  if (!repository || !mountpoint || surplus !== undefined) {
    throw usage(
      'mount.cairn takes a repository and a directory.',
      'mount -t cairn -o ro <repository> <directory>',
    );
  }
  const request = { repository, mountpoint, fake: flags.has('f'), verbose: flags.has('v') };
  return { ...request, ...readOptions(options, flags.has('s')) };
}

/** Mounts, and returns what to print. A repository that is mounted there already is what `mount -a` wants.
 *  @throws {CairnError} as `mount` */
export async function mountForFstab(argv: readonly string[]): Promise<string> {
  const { fake, verbose, ...request } = parseFstabMount(argv);
  const where = visible(request.mountpoint);
  if (fake) return '';
  const [{ mount }, { servedAt }] = await Promise.all([
    import('../mount/session/mount.js'),
    import('../mount/session/served-at.js'),
  ]);
  const served = await servedAt(request.mountpoint);
  if (served?.repository === resolve(request.repository)) {
    return verbose ? `${where} shows ${visible(request.repository)} already.\n` : '';
  }
  // Nobody watches: the log holds what should be known, as that of `cairn mount` does.
  const { pid } = await mount({ ...request, logLevel: 'warn' });
  return verbose ? `Mounted at ${where} (pid ${pid}).\n` : '';
}

type OwnOptions = Pick<FstabMount, 'disks' | 'engine' | 'group' | 'allowOther'>;

/** `sloppy` passes over what is not known (`-s`). */
function readOptions(options: readonly string[], sloppy: boolean): OwnOptions {
  const own: { -readonly [Key in keyof OwnOptions]: OwnOptions[Key] } & { disks: string[] } = {
    disks: [],
    allowOther: false,
  };
  let isReadOnly = true;
  for (const option of options.filter((each) => each !== '')) {
    const [, name = '', value = ''] = /^([^=]*)=?(.*)$/s.exec(option) ?? [];
    if (name === 'ro' || name === 'rw') isReadOnly = name === 'ro';
    else if (name === 'allow_other') own.allowOther = true;
    else if (name === 'disk') own.disks.push(required(name, value));
    else if (name === 'group') own.group = required(name, value);
    else if (name === 'engine') own.engine = engineNamed(value);
    else if (name === 'remount') throw usage('A mount of a repository cannot be changed; unmount it first.');
    else if (!sloppy && !isGeneric(name)) throw unknownOption(option, name);
  }
  if (!isReadOnly) {
    throw usage(
      'A repository is mounted read-only.',
      'Write ro in the options; without it mount(8) asks for rw.',
    );
  }
  return own;
}

function isGeneric(name: string): boolean {
  return GENERIC_OPTIONS.has(name) || /^x-|^X-/.test(name) || name === 'comment';
}

function required(name: string, value: string): string {
  if (value !== '') return value;
  throw usage(`The mount option ${name}= needs a value.`);
}

function engineNamed(value: string): EngineName {
  const engine = ENGINE_NAMES.find((name) => name === value);
  if (engine !== undefined) return engine;
  throw usage(`There is no engine “${visible(value)}”.`, `Choose one of ${ENGINE_NAMES.join(', ')}.`);
}

function unknownOption(option: string, name: string): CairnError {
  const known = [...OWN_OPTIONS, ...GENERIC_OPTIONS];
  const near = nearest(name, known);
  const others = `Its own are ${OWN_OPTIONS.join(', ')}.`;
  return usage(
    `A mount of a repository has no option “${visible(option)}”.`,
    near === undefined ? others : `Did you mean “${near}”? ${others}`,
  );
}

function usage(message: string, hint?: string): CairnError {
  return new CairnError('USAGE', message, { hint });
}

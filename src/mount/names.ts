/** File names made of what a guest wrote on its disk: GPT names, labels, logical volumes.
 *  Such text is untrusted, so what comes out is always one plain path component in printable ASCII.
 *  Escaping is not reversible where a name is longer than the limit. */

const NAME_BYTES_MAX = 64;

const PLAIN = /^[A-Za-z0-9._+-]$/;

/** Escapes one name: bytes outside `[A-Za-z0-9._+-]` become `%XX`, at most 64 bytes, never cut inside a `%XX`.
 *  Never empty, `.` or `..`: the empty name is `%`, which no other name gives. */
export function escapeGuestName(name: string): string {
  if (name === '') return '%';
  if (name === '.' || name === '..') return name.replaceAll('.', '%2E');
  let escaped = '';
  for (const byte of Buffer.from(name, 'utf8')) {
    const token = escapeByte(byte);
    if (escaped.length + token.length > NAME_BYTES_MAX) break;
    escaped += token;
  }
  return escaped;
}

/** The name of a logical volume as device mapper writes it: hyphens doubled, group and volume joined by one. */
export function volumeName(group: string, volume: string): string {
  return escapeGuestName(`${group.replaceAll('-', '--')}-${volume.replaceAll('-', '--')}`);
}

/** The file name of a partition without `.img`: number, name where there is one, file system where one was seen. */
export function partitionStem(number: number, name: string | null, fileSystem: string | null): string {
  const named = name === null || name === '' ? `${number}` : `${number}-${escapeGuestName(name)}`;
  return fileSystem === null ? named : `${named}.${escapeGuestName(fileSystem)}`;
}

/** Names already given in one directory. */
export class NameRegister {
  readonly #taken = new Set<string>();

  /** `stem` + `suffix`, or with `~2`, `~3` … before the suffix where that is taken. No guest name contains `~`. */
  claim(stem: string, suffix: string): string {
    let name = stem + suffix;
    for (let copy = 2; this.#taken.has(name); copy++) name = `${stem}~${copy}${suffix}`;
    this.#taken.add(name);
    return name;
  }
}

function escapeByte(byte: number): string {
  const char = String.fromCharCode(byte);
  return PLAIN.test(char) ? char : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}

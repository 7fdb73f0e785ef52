/** The names that people and directories give to things, checked once at the gate and branded from there on. */
import { CairnError } from './errors.js';
import { visible } from './visible.js';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** A name that is safe as one directory name, in an expression and on a terminal. */
export type DiskName = Branded<'DiskName'>;
/** The UTC second of the revision and four base-32 characters that rise within the second. */
export type RevisionId = Branded<'RevisionId'>;
export type TagName = Branded<'TagName'>;

const DISK = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const TAG = /^[a-z][a-z0-9_-]{0,31}$/;
/** Without letters that are easily misread. */
const REVISION = /^\d{8}T\d{6}Z-[0-9a-hjkmnp-tv-z]{4}$/;

export function isDiskName(text: string): text is DiskName {
  return DISK.test(text);
}

export function isRevisionId(text: string): text is RevisionId {
  return REVISION.test(text);
}

/** The second that an id begins with, in milliseconds since 1970; NaN for what is no id. It is never before that of an
 *  earlier revision of the disk, also where the clock had jumped back when the revision was taken. */
export function secondOfId(text: string): number {
  if (!isRevisionId(text)) return Number.NaN;
  return Date.parse(text.replace(/^(....)(..)(..)T(..)(..)(..)Z.*$/, '$1-$2-$3T$4:$5:$6Z'));
}

/** @throws {CairnError} USAGE */
export function diskName(text: string): DiskName {
  if (isDiskName(text)) return text;
  const what = text === '' ? 'An empty name' : `“${visible(text)}”`;
  throw new CairnError('USAGE', `${what} is not a disk name${why(text, 100)}.`, {
    hint: 'A disk name starts with a letter or digit and has letters, digits, “.”, “_” and “-”, at most 100 of them.',
  });
}

/** @throws {CairnError} USAGE */
export function tagName(text: string): TagName {
  if (text === 'latest') {
    throw new CairnError('USAGE', '“latest” cannot be a tag: it always means the newest revision.', {
      hint: 'Choose another tag, such as “golden”.',
    });
  }
  if (TAG.test(text)) return text as TagName;
  const what = text === '' ? 'An empty word' : `“${visible(text)}”`;
  throw new CairnError('USAGE', `${what} is not a tag${why(text, 32)}.`, {
    hint: 'A tag starts with a small letter and has small letters, digits, “_” and “-”, at most 32 of them.',
  });
}

function why(text: string, lengthMax: number): string {
  if (text.length > lengthMax) return `: it has ${text.length} characters`;
  if (text.includes('/')) return ': it contains a slash';
  if (/\p{Cc}/u.test(text)) return ': it contains a control character';
  return '';
}

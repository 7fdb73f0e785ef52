/** Revision expressions: `disk@latest`, `disk@latest~2`, a full id, a tag, a date or a unique prefix, tried in this
 *  order. Pure: from the rows of a listing to one of them. */
import { CairnError } from '../base/errors.js';
import { type DiskName, diskName } from '../base/ids.js';
import { nearest } from '../base/nearest.js';
import type { RevisionRow } from '../base/revision-row.js';
import { visible } from '../base/visible.js';
import { parseMoment } from './moment.js';

export interface ResolveOptions {
  /** Whether `disk` alone means `disk@latest`: so for commands that only read. */
  readonly bareDiskMeansLatest: boolean;
}

export interface Resolved {
  readonly row: RevisionRow;
  /** Sentences that a person should see: which revisions were passed over, and why. */
  readonly notes: string[];
}

export interface Expression {
  readonly disk: DiskName;
  /** What follows the `@`; null for a bare disk. */
  readonly selector: string | null;
}

const CANDIDATES_SHOWN_MAX = 10;

/** Splits at the `@`, which no disk name contains.
 *  @throws {CairnError} USAGE */
export function parseExpression(expression: string): Expression {
  const at = expression.indexOf('@');
  if (at < 0) return { disk: diskName(expression), selector: null };
  const selector = expression.slice(at + 1);
  const disk = diskName(expression.slice(0, at));
  if (selector !== '') return { disk, selector };
  throw new CairnError('USAGE', `“${disk}@” names no revision.`, {
    hint: `Write ${disk}@latest, ${disk}@<revision>, ${disk}@<tag> or ${disk}@<date>.`,
  });
}

/** The one revision that `expression` means. `rows` may be those of its disk alone or of the whole repository, in any
 *  order.
 *  @throws {CairnError} USAGE | NO_SUCH_DISK | NO_SUCH_REVISION | AMBIGUOUS_REVISION */
export function resolveRevision(
  rows: readonly RevisionRow[],
  expression: string,
  { bareDiskMeansLatest }: ResolveOptions,
): Resolved {
  const { disk, selector } = parseExpression(expression);
  if (selector === null && !bareDiskMeansLatest) {
    throw new CairnError('USAGE', `“${disk}” names a disk; this command wants one revision of it.`, {
      hint: `Write ${disk}@latest for the newest, or see “cairn list ${disk}”.`,
    });
  }
  const own = rows.filter((row) => row.disk === disk).sort((a, b) => a.sequence - b.sequence);
  if (own.length === 0) throw noSuchDisk(disk, new Set(rows.map((row) => row.disk)));
  const resolved = select(own, disk, selector ?? 'latest');
  return { row: resolved.row, notes: [...resolved.notes, ...distrustNote(resolved.row)] };
}

/** @returns the error for a disk that is not there, with the name that was most likely meant */
export function noSuchDisk(disk: string, known: Iterable<string>): CairnError {
  const meant = nearest(disk, known);
  return new CairnError('NO_SUCH_DISK', `There is no disk named “${visible(disk)}”.`, {
    hint: meant === undefined ? 'See “cairn disk list”.' : `Did you mean “${meant}”? See “cairn disk list”.`,
  });
}

/** `own` is of one disk, oldest first, and not empty. */
function select(own: readonly RevisionRow[], disk: string, selector: string): Resolved {
  const latest = /^latest(?:~(\d{1,9}))?$/.exec(selector);
  if (latest !== null) return selectLatest(own, disk, Number(latest[1] ?? 0));
  const exact = own.find((row) => row.revision === selector);
  if (exact !== undefined) return { row: exact, notes: [] };
  const tagged = own.findLast((row) => row.tags.includes(selector));
  if (tagged !== undefined) return { row: tagged, notes: [] };
  const moment = parseMoment(selector);
  if (moment === 'impossible') {
    throw new CairnError('USAGE', `“${visible(selector)}” is not a date that exists.`, {
      hint: 'Write 2026-11-20, 2026-11-20T12:00 or 2026-11-20T12:00:00+02:00.',
    });
  }
  if (moment !== null) return selectBefore(own, disk, selector, moment.untilMs);
  return selectPrefix(own, disk, selector);
}

function selectLatest(own: readonly RevisionRow[], disk: string, back: number): Resolved {
  const usable = own.filter((row) => row.trust !== 'distrusted');
  const row = usable[usable.length - 1 - back];
  if (row === undefined) {
    const many = `${usable.length} that ${usable.length === 1 ? 'is' : 'are'} not distrusted`;
    throw new CairnError('NO_SUCH_REVISION', `Disk “${disk}” has ${own.length} revisions, ${many}.`, {
      hint: `Name one by its id: “cairn list ${disk}” shows them.`,
    });
  }
  const passed = own.filter((other) => other.trust === 'distrusted' && other.sequence > row.sequence);
  const notes = passed.map(
    (other) => `${disk}@${other.revision} is newer but distrusted, so it was passed over.`,
  );
  return { row, notes };
}

function selectBefore(
  own: readonly RevisionRow[],
  disk: string,
  selector: string,
  untilMs: number,
): Resolved {
  const createdMs = (candidate: RevisionRow) => Date.parse(candidate.createdAt);
  // In the order of time, which is another than that of taking them where the clock has jumped.
  const [row] = own
    .filter((candidate) => createdMs(candidate) <= untilMs)
    .sort((a, b) => createdMs(b) - createdMs(a) || b.sequence - a.sequence);
  if (row !== undefined) return { row, notes: [] };
  throw new CairnError(
    'NO_SUCH_REVISION',
    `Disk “${disk}” has no revision at or before ${visible(selector)}.`,
    {
      hint: `Its oldest is ${own[0]?.revision}, of ${own[0]?.createdAt}.`,
    },
  );
}

function selectPrefix(own: readonly RevisionRow[], disk: string, selector: string): Resolved {
  const matches = own.filter((row) => row.revision.startsWith(selector));
  const [row] = matches;
  if (row === undefined) {
    const what = `Disk “${disk}” has no revision, tag or date “${visible(selector)}”.`;
    const meant = nearest(selector, ['latest', ...new Set(own.flatMap((candidate) => candidate.tags))]);
    const see = `“cairn list ${disk}” shows what there is.`;
    throw new CairnError('NO_SUCH_REVISION', what, {
      hint: meant === undefined ? see : `Did you mean ${disk}@${meant}? ${see}`,
    });
  }
  if (matches.length === 1) return { row, notes: [] };
  const shown = matches.slice(0, CANDIDATES_SHOWN_MAX).map((match) => `${disk}@${match.revision}`);
  const more = matches.length > shown.length ? ` and ${matches.length - shown.length} more` : '';
  const list = `${shown.join(', ')}${more}`;
  throw new CairnError('AMBIGUOUS_REVISION', `“${disk}@${selector}” could be ${list}.`, {
    hint: 'Write more of the id.',
  });
}

function distrustNote(row: RevisionRow): string[] {
  return row.trust === 'distrusted' ? [`${row.disk}@${row.revision} is marked distrusted.`] : [];
}

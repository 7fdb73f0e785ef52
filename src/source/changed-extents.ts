/** What something outside says has changed since a revision: a snapshot’s exception table, a dirty bitmap, a hook. It is
 *  believed, and compared with the source in a few random places. */
import { readFileSync } from 'node:fs';
import { CairnError } from '../base/errors.js';
import { isRevisionId, type RevisionId } from '../base/ids.js';
import { parseObject } from '../base/json-object.js';
import { systemError } from '../base/system-error.js';
import { isSize } from '../base/units.js';
import { visible } from '../base/visible.js';

export interface ChangedExtents {
  /** The revision that was taken when the tracking began. */
  readonly from: RevisionId;
  /** In bytes, in any order; what lies beyond the end counts for nothing. */
  readonly extents: readonly { readonly offset: number; readonly length: number }[];
}

const EXAMPLE = 'Write {"from":"<revision id>","extents":[{"offset":0,"length":4096}]}.';

/** Reads `{"from","extents":[{"offset","length"}]}`; other fields are left alone.
 *  @throws {CairnError} USAGE for what is no such file; IO | NOT_PERMITTED */
export function readChangedExtents(file: string): ChangedExtents {
  return changedExtentsOf(textOf(file), file);
}

/** The same of a file that a hook has written, which instead of changes may hold `{"reason"}`, a clause.
 *  @returns the changes, or why there are none */
export function readHookChanges(file: string): ChangedExtents | { readonly reason: string } {
  try {
    const text = textOf(file);
    const reason = parseObject(text)?.['reason'];
    return typeof reason === 'string' ? { reason: visible(reason, 300) } : changedExtentsOf(text, file);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    return { reason: `changes were not told: ${error.message.replace(/\.$/, '')}` };
  }
}

function changedExtentsOf(text: string, file: string): ChangedExtents {
  const refuse = (what: string): never => {
    throw new CairnError('USAGE', `The changed extents in ${visible(file)} cannot be used: ${what}.`, {
      hint: EXAMPLE,
    });
  };
  const { from, extents } = parseObject(text) ?? refuse('the file is no JSON object');
  if (typeof from !== 'string' || !isRevisionId(from)) return refuse('“from” is not the id of a revision');
  if (!Array.isArray(extents)) return refuse('“extents” is not a list');
  for (const [index, extent] of extents.entries()) {
    const { offset, length } = (extent ?? {}) as Record<string, unknown>;
    if (!isSize(offset) || !isSize(length) || !Number.isSafeInteger(offset + length))
      refuse(`extent ${index + 1} has no “offset” and “length” in bytes`);
  }
  return { from, extents };
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT')
      throw new CairnError('USAGE', `The file of changed extents, ${visible(file)}, is not there.`, {
        cause,
      });
    throw systemError(`The changed extents in ${visible(file)} cannot be read`, cause);
  }
}

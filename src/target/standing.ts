/** What stands on a target before it is overwritten: for a person to read, and as a short code that changes when
 *  it does. */
import { formatBytes } from '../base/units.js';
import { visible } from '../base/visible.js';
import { surveyPath } from '../native/index.js';
import type { Target } from './target.js';

export interface Standing {
  readonly sizeBytes: number;
  /** A partition table, a file system, or what looks like a damaged one. */
  readonly hasContent: boolean;
  /** As in `k3f9-2mqa`: of serial, size, disk GUID and file system UUIDs, not of the path. */
  readonly code: string;
  /** Lines that tell what is there. */
  readonly lines: readonly string[];
}

/** Changes nothing.
 *  @throws {CairnError} IO | NOT_PERMITTED */
export async function standingOf(target: Target): Promise<Standing> {
  const sizeBytes = target.kind === 'device' ? target.device.sizeBytes : (target.existing?.sizeBytes ?? 0);
  const serial = target.kind === 'device' ? target.device.serial : null;
  const { hasContent, code, lines } = await surveyPath(target.path, serial);
  return { sizeBytes, hasContent, code, lines: [headline(target, sizeBytes), ...lines] };
}

/** What a person types for a code: case, blanks and the hyphen do not matter. */
export function isSameCode(typed: string, code: string): boolean {
  const bare = (text: string) => text.toLowerCase().replace(/[\s-]/g, '');
  return bare(typed) === bare(code);
}

function headline(target: Target, sizeBytes: number): string {
  const facts = [formatBytes(sizeBytes)];
  if (target.kind === 'device') {
    const { model, serial, loop } = target.device;
    if (model !== null) facts.push(visible(model));
    if (serial !== null) facts.push(`serial ${visible(serial)}`);
    if (loop !== null) facts.push(`backed by ${visible(loop.file)}`);
  }
  return `${visible(target.path)} (${facts.join(', ')})`;
}

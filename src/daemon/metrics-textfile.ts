/** Leaves metrics in a file that node_exporter takes along with its own. */
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import { writeAtomically } from '../repository/durable.js';

/** For node_exporter, which is another user. */
const MODE = 0o644;

/** Replaces `file` at once, so that no half of it is read. It outlives the daemon: the metrics themselves tell when they
 *  were made.
 *  @throws {CairnError} IO | NO_SPACE | NOT_PERMITTED | READ_ONLY; its directory must be there */
export function writeTextfile(file: string, text: string): void {
  try {
    writeAtomically(file, text, MODE);
  } catch (cause) {
    throw systemError(`The metrics cannot be written to ${visible(file)}`, cause);
  }
}

/** What happens to a disk between two backups: packages are upgraded, added and removed, logs grow and go, rows of a
 *  database change in place, media come and go. What is freed is discarded. Needs root, for loop mounts. */
import { closeSync, cpSync, openSync, readdirSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { leaveOut } from '../measure.js';
import { logFrom, PAGE_BYTES, tableFrom, writePieces } from './contents.js';
import { mounted } from './partitions.js';
import { noiseFrom, numbersFrom } from './random.js';
import { apt } from './tree.js';

const MIB = 2 ** 20;
const MINUTES_MAX = 4;
/** What an administrator may do of an evening. */
const EVENING = `$get update; $get upgrade; $get install tmux rsync curl
  $get purge vim git; $get autoremove --purge; $get clean`;
const ROWS_SHARE = 0.02;

/** Changes the disk and says what upgraded its packages: `apt`, or `copies` where apt could not. */
export function changeDisk(disk, layout, kind, seed) {
  let by = 'copies';
  mounted(disk, layout.root, (root) => {
    if (kind === 'debian' && apt(root, EVENING, MINUTES_MAX)) by = 'apt';
    else {
      if (kind === 'debian') leaveOut('an upgrade by apt', 'it failed; files are copied and removed instead');
      copyAndRemove(root, seed);
    }
    writePieces(join(root, 'var-log-messages'), 6 * MIB, logFrom(seed + 2));
  });
  mounted(disk, layout.data, (data) => changeData(data, seed));
  return by;
}

/** As an upgrade does it: a new file beside the old one, then the old one away; every twentieth file. */
function copyAndRemove(root, seed) {
  const next = numbersFrom(seed + 3);
  const files = readdirSync(join(root, 'usr'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
  for (const path of files) {
    const lot = next(40);
    if (lot === 0) rmSync(path);
    else if (lot === 1) {
      cpSync(path, `${path}.new`);
      rmSync(path);
    }
  }
}

function changeData(data, seed) {
  const next = numbersFrom(seed + 4);
  const logs = readdirSync(join(data, 'logs')).sort();
  rmSync(join(data, 'logs', logs.at(-1)));
  writePieces(join(data, 'logs', logs[0]), 12 * MIB, logFrom(seed + 5), 'a');
  const page = tableFrom(seed + 6);
  for (const name of readdirSync(join(data, 'tables')).sort()) {
    const path = join(data, 'tables', name);
    const pages = Math.floor(statSync(path).size / PAGE_BYTES);
    const file = openSync(path, 'r+');
    for (let change = 0; change < pages * ROWS_SHARE; change += 1) {
      writeSync(file, page(PAGE_BYTES), 0, PAGE_BYTES, next(pages) * PAGE_BYTES);
    }
    closeSync(file);
  }
  const media = readdirSync(join(data, 'media')).sort();
  for (const name of media.slice(0, Math.ceil(media.length / 10))) rmSync(join(data, 'media', name));
  writePieces(join(data, 'media', 'photo-new.jpg'), 8 * MIB, noiseFrom(seed + 7));
}

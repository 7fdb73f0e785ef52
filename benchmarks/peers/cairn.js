import { CAIRN } from '../lab.js';
import { machine } from '../measure.js';

/** Cairn in the shape of its peers. Its repository lies in `at/repository`. */
export const cairn = {
  name: 'cairn',
  program: process.execPath,
  version: () => machine().commit,
  settings: 'blocks of 64 KiB, zstd 1',
  why: 'the defaults',
  initialise: (at) => [cairnAt(at, ['init'])],
  backup: (at, image) =>
    cairnAt(at, ['--json', 'backup', 'bench', '--source', `${image.directory}/${image.name}`]),
  restoreToFile: (at, _revision, directory, image) =>
    cairnAt(at, ['restore', 'bench@latest', `${directory}/${image.name}`]),
  restoreToDevice: (at, _revision, _image, device) => cairnAt(at, ['restore', 'bench@latest', device]),
};

/** Cairn with another size of blocks. */
export function cairnWithBlocks(kibibytes) {
  return {
    ...cairn,
    name: `cairn, ${kibibytes} KiB blocks`,
    initialise: (at) => [cairnAt(at, ['init', '--block-size', `${kibibytes}KiB`])],
  };
}

function cairnAt(at, words) {
  return { words: [process.execPath, CAIRN, '-r', `${at}/repository`, ...words], cwd: at };
}

import { versionOf } from './program.js';

/** casync's chunk store lies in `at/repository`, its indexes too. */
export const casync = {
  name: 'casync',
  program: 'casync',
  version: () => versionOf('casync', ['--version'], /casync (\S+)/),
  settings: '--compression=zstd, chunks of 64 KiB on average',
  why: 'the level of its zstd cannot be chosen; chunks are of its default size',
  initialise: () => [],
  backup: (at, image, revision) => ({
    words: [
      'casync',
      'make',
      '--compression=zstd',
      `--store=${at}/repository/default.castr`,
      `${at}/repository/${revision}.caibx`,
      `${image.directory}/${image.name}`,
    ],
  }),
  restoreToFile: (at, revision, directory, image) => extract(at, revision, `${directory}/${image.name}`),
  restoreToDevice: (at, revision, _image, device) => extract(at, revision, device),
};

function extract(at, revision, target) {
  const store = `--store=${at}/repository/default.castr`;
  return {
    words: ['casync', 'extract', store, '--seed-output=no', `${at}/repository/${revision}.caibx`, target],
  };
}

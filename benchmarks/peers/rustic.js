import { versionOf } from './program.js';

/** rustic's repository lies in `at/repository`, its cache beside it. */
export const rustic = {
  name: 'rustic',
  program: 'rustic',
  version: () => versionOf('rustic', ['--version']),
  settings: 'TODO',
  why: '',
  initialise: (at) => [rusticAt(at, ['init', '--set-compression', '1'])],
  backup: (at, image) => ({
    ...rusticAt(at, ['backup', '--force', '--as-path', `/${image.name}`, `${image.directory}/${image.name}`]),
    cwd: image.directory,
  }),
  restoreToFile: (at, _revision, directory) => rusticAt(at, ['restore', 'latest:/', directory]),
  restoreToDevice: (at, _revision, image, device) => ({
    ...rusticAt(at, ['dump', `latest:/${image.name}`]),
    to: device,
  }),
};

function rusticAt(at, words) {
  return {
    words: [
      'rustic',
      '--repository',
      `${at}/repository`,
      '--cache-dir',
      `${at}/cache`,
      '--no-progress',
      ...words,
    ],
    cwd: at,
    env: { RUSTIC_PASSWORD: 'benchmark' },
  };
}

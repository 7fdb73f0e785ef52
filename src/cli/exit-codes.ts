/** What the process exit codes mean, for people who write scripts; `EXIT_CODES` in base gives each error its code. */

import { EXIT_CODES } from '../base/errors.js';

/** Of commands that did what they were asked to and found damage, differences or findings. */
export const foundExitCode = EXIT_CODES.CORRUPT;

export interface ExitCode {
  readonly code: number;
  readonly meaning: string;
}

export const EXIT_CODE_MEANINGS: readonly ExitCode[] = [
  { code: 0, meaning: 'done' },
  { code: 1, meaning: 'failed' },
  { code: 2, meaning: 'wrong use or configuration' },
  { code: 3, meaning: 'no such disk or revision' },
  { code: 4, meaning: 'locked by another process' },
  { code: 5, meaning: 'stored data damaged, or differences or findings' },
  { code: 6, meaning: 'refused: target, source or revision protected' },
  { code: 7, meaning: 'no space' },
  { code: 130, meaning: 'ended by SIGINT' },
  { code: 143, meaning: 'ended by SIGTERM' },
];

/** A command's standard output as a source; its exit status counts. */
import { commandFailed, RunningCommand } from './running-command.js';
import type { OpenSource, Source, SourceDescription } from './source.js';

export class ExecSource implements Source {
  readonly spec: string;
  readonly repeatable = false;
  readonly #command: string;
  readonly #sizeBytes: number | null;

  /** `command` is for /bin/sh. */
  constructor(command: string, sizeBytes: number | null) {
    this.spec = `exec:${command}`;
    this.#command = command;
    this.#sizeBytes = sizeBytes;
  }

  async inspect(): Promise<SourceDescription> {
    return { spec: this.spec, kind: 'exec', sizeBytes: this.#sizeBytes };
  }

  async open(): Promise<OpenSource> {
    const running = new RunningCommand('/bin/sh', ['-c', this.#command]);
    const fd = running.readFd;
    return {
      native: this.#sizeBytes === null ? { fd } : { fd, sizeBytes: this.#sizeBytes },
      consistency: 'auto',
      confirmed: async () => {
        const failed = await running.failure();
        if (failed === null) return;
        throw commandFailed(
          'The command of the source',
          failed,
          'No revision was taken. Run the command by hand to see what it says.',
        );
      },
      close: () => running.close(),
    };
  }
}

/** Tells a service manager that started the mount in the foreground that it is ready (sd_notify(3)). */
import type { Logger } from '../../base/log.js';
import { runCommand } from './command.js';

/** Does nothing where nobody listens. The signal is a datagram on a unix socket, which Node cannot send; the
 *  program that comes with systemd can, and sends it in the name of its parent, the service's main process. */
export async function signalReady(status: string, log: Logger): Promise<void> {
  if (!process.env['NOTIFY_SOCKET']) return;
  const result = await runCommand('systemd-notify', ['--ready', `--status=${status}`]);
  if (result.status === 0) return;
  log.warn({ outcome: result.outcome, said: result.stderr.trim() }, 'systemd could not be told of the mount');
}

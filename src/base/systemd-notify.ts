/** Tells a service manager how a service stands: sd_notify(3). Nothing is told, and nothing said of it, where no manager
 *  listens. */
import { execFile } from 'node:child_process';
import process from 'node:process';

/** Long enough for a machine that is busy, shorter than any watchdog. */
const TELL_MS_MAX = 10_000;
/** Where the program is, which not every PATH names. */
const SYSTEM_PATH = '/usr/bin:/bin';
const OF_SERVICE: readonly string[] = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID'];

/** Tells `state`: lines `VARIABLE=value`, such as `READY=1`, `STATUS=…`, `STOPPING=1`, `WATCHDOG=1`, `reloading()`. It is a
 *  datagram on a unix socket, which Node cannot send; the program that comes with systemd can, and as root sends it in
 *  the name of its parent, the service's main process. Never rejects. States that must keep their order are awaited.
 *  @returns false where somebody listens and could not be told */
export function notifySystemd(state: string): Promise<boolean> {
  if (!process.env['NOTIFY_SOCKET']) return Promise.resolve(true);
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:${SYSTEM_PATH}` };
  const lines = state.split('\n').filter((line) => line !== '');
  return new Promise((resolve) => {
    execFile(
      'systemd-notify',
      lines,
      { cwd: '/', env, timeout: TELL_MS_MAX, killSignal: 'SIGKILL' },
      (error) => resolve(error === null),
    );
  });
}

/** The state of a service that takes another configuration over; READY=1 ends it. */
export function reloading(): string {
  return `RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`;
}

/** How often WATCHDOG=1 is to be told, at half the time after which the manager takes the service for hung; null where
 *  it does not watch this process. */
export function watchdogMs(env: NodeJS.ProcessEnv = process.env): number | null {
  const { WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = env;
  const isMeant = pid === undefined || pid === '' || Number(pid) === process.pid;
  const intervalMs = Number(usec) / 2000;
  return usec && isMeant && intervalMs > 0 ? intervalMs : null;
}

/** The environment for a child that does not speak for the service. */
export function withoutService(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !OF_SERVICE.includes(name)));
}

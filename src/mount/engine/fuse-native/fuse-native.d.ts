/** The part of the package that the engine uses. */
declare module 'fuse-native' {
  export type Signal = (errorOrCount: number, ...values: unknown[]) => void;

  // biome-ignore lint/style/noDefaultExport: the package is CommonJS with one export.
  export default class Fuse {
    constructor(mountpoint: string, operations: object, options: { timeout: false });
    mount(callback: (error: Error | null) => void): void;
    protected _fuseOptions(): string;
    protected _op_getattr(signal: Signal, path: string): void;
    protected _op_fgetattr(signal: Signal, path: string, handle: number): void;
    protected _op_getxattr(signal: Signal, path: string, name: string, into: Buffer): void;
    protected _op_listxattr(signal: Signal, path: string, into: Buffer): void;
  }
}

/** Types of the parts of autocannon 9 that are used here. The package has none. */
declare module 'autocannon' {
  namespace autocannon {
    type Request = {
      method?: string;
      path?: string;
      headers?: Record<string, string>;
      setupRequest?: (request: never, context: never) => unknown;
      onResponse?: (status: number, body: string, context: never) => void;
    };
    type Options = {
      url: string;
      connections: number;
      /** Seconds. */
      duration?: number;
      /** Total number of requests. */
      amount?: number;
      /** Seconds. */
      timeout?: number;
      /** Milliseconds. */
      sampleInt?: number;
      requests: Request[];
    };
    type Running = {
      on(event: 'response', listener: (client: unknown, status: number, bytes: number, ms: number) => void): void;
      on(event: 'reqError', listener: (error: Error) => void): void;
    };
  }
  function autocannon(options: autocannon.Options, done: (error: Error | null) => void): autocannon.Running;
  export = autocannon;
}

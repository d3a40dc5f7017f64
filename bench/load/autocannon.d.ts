/** What we use of autocannon 9, which has no types of its own. */
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
      /** Requests in all. */
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

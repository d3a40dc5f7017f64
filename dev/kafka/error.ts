/** An error about a request or a record. The response is `{error, status}`, the protocol's only error format. */
export class KafkaError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.name = 'KafkaError';
    this.status = status;
  }
}

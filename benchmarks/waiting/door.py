"""JobService.GetBatchPredictionJob over gRPC, in front of the local cloud, which speaks REST only.

    python -m waiting.door URL

prints the port it took, then serves until it is stopped.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

METHOD = "/google.cloud.aiplatform.v1.JobService/GetBatchPredictionJob"


async def serve(url: str) -> None:
    """Answer gets with what the local cloud at *url* says."""
    import aiohttp
    import grpc
    from google.cloud.aiplatform_v1 import BatchPredictionJob, GetBatchPredictionJobRequest

    codes = {404: grpc.StatusCode.NOT_FOUND, 429: grpc.StatusCode.RESOURCE_EXHAUSTED}

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20)) as session:

        async def get(request: Any, context: Any) -> Any:
            async with session.get(f"{url}/v1/{request.name}") as answer:
                text = await answer.text()
            if answer.status != 200:
                await context.abort(codes.get(answer.status, grpc.StatusCode.UNAVAILABLE), text)
            return BatchPredictionJob.from_json(text)

        handler = grpc.unary_unary_rpc_method_handler(
            get,
            request_deserializer=GetBatchPredictionJobRequest.deserialize,
            response_serializer=BatchPredictionJob.serialize,
        )

        class Door(grpc.GenericRpcHandler):
            def service(self, call: Any) -> Any:
                return handler if call.method == METHOD else None

        server = grpc.aio.server()
        server.add_generic_rpc_handlers([Door()])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))

from pathlib import Path
import asyncio, pytest
from tests.acceptance.scene import staged

async def test_smoke(tmp_path: Path, kafka, make_topic):
    topic = await make_topic()
    async with staged(tmp_path, kafka=(kafka, topic)) as scene:
        load = scene.send()
        await scene.server.start()
        await asyncio.sleep(6)
        await load.finish()
        await scene.settle()
        found = await scene.stop_and_check()
        from collections import Counter
        print(Counter(v.code for v in found))
        for v in found[:20]: print(v)
        print(scene.receiver._notes.count, scene.stream.last, scene.client.cut, scene.client.busy)
        assert not found

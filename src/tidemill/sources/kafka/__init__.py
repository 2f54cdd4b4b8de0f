"""KAFKA → LOG: records become events in the same transaction that moves the partition's cursor.

Imports aiokafka: import this package only where a broker is configured.
"""

from tidemill.sources.kafka.stage import KafkaSourceStage

__all__ = ["KafkaSourceStage"]

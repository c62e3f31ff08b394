"""A whole application and its demanding client: moto, used by boto3 as Amazon's services are."""

import io
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from tests.examples.servers import serve_wsgi
from tests.extensions.clouds import REGION, Cloud, Clouds
from tests.extensions.servers import serve_gateway

APP = "tests.extensions.apps.aws:app"
BUCKET = "newspapers"
# Of which every part but the last must have 5 MiB, so that there are three.
LARGE = random.Random(7).randbytes(11_000_000)
IN_PARTS = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20, max_concurrency=4)
ODD_KEY = "2024/a b+c%20d&é=?#.txt"


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    with serve_wsgi(APP) as gunicorn, serve_gateway(APP, tmp_path_factory.mktemp("state")) as gateway:
        alone, mounted = (Cloud(f"http://127.0.0.1:{port}") for port in (gunicorn, gateway))
        with closing(alone), closing(mounted):
            assert httpx.get(mounted.url).headers["x-served-by"] == "legacy"
            yield Clouds(alone, mounted)


def open_bucket(cloud: Cloud) -> Any:
    s3 = cloud.connect("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    return s3


def error_code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    code: str = caught.value.response["Error"]["Code"]
    return code


def test_object_is_put_and_got(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        s3.put_object(Bucket=BUCKET, Key=ODD_KEY, Body=b"news", ContentType="text/x-news", Metadata={"Desk": "city"})
        got = s3.get_object(Bucket=BUCKET, Key=ODD_KEY)
        head = s3.head_object(Bucket=BUCKET, Key=ODD_KEY)

        assert got["Body"].read() == b"news"
        assert (got["ContentType"], got["Metadata"]) == ("text/x-news", {"desk": "city"})
        assert (head["ContentLength"], head["ETag"]) == (4, got["ETag"])
        assert [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == [ODD_KEY]


def test_header_with_an_underscore_is_dropped(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        s3.put_object(Bucket=BUCKET, Key="key", Body=b"news", Metadata={"desk": "city", "for_desk": "sports"})

        assert s3.head_object(Bucket=BUCKET, Key="key")["Metadata"] == {"desk": "city"}


def test_empty_object(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        s3.put_object(Bucket=BUCKET, Key="empty")

        assert s3.get_object(Bucket=BUCKET, Key="empty")["Body"].read() == b""


def test_object_is_got_in_part_and_on_condition(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        etag = s3.put_object(Bucket=BUCKET, Key="large", Body=LARGE)["ETag"]
        get = {"Bucket": BUCKET, "Key": "large"}

        assert s3.get_object(**get, Range="bytes=1000-500999")["Body"].read() == LARGE[1000:501_000]
        assert s3.get_object(**get, Range="bytes=-7")["Body"].read() == LARGE[-7:]
        assert s3.get_object(**get, IfMatch=etag)["ContentLength"] == len(LARGE)
        assert error_code(s3.get_object, **get, IfNoneMatch=etag) == "304"
        assert error_code(s3.get_object, **get, IfMatch='"other"') == "PreconditionFailed"
        assert error_code(s3.get_object, **get, Range=f"bytes={len(LARGE)}-") == "InvalidRange"


def test_object_goes_up_and_down_in_parts_at_once(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        s3.upload_fileobj(io.BytesIO(LARGE), BUCKET, "large", Config=IN_PARTS)
        received = io.BytesIO()
        s3.download_fileobj(BUCKET, "large", received, Config=IN_PARTS)

        assert received.getvalue() == LARGE
        assert s3.head_object(Bucket=BUCKET, Key="large")["ETag"].endswith('-3"')
        cloud.answers.sort(key=repr)


def test_multipart_upload_by_hand_and_its_end(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        upload = {"Bucket": BUCKET, "Key": "parts"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        parts = [
            {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
            for number, body in ((1, LARGE[: 5 * 2**20]), (2, b"end"))
        ]
        assert len(s3.list_parts(**upload)["Parts"]) == 2
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

        assert s3.get_object(Bucket=BUCKET, Key="parts")["Body"].read() == LARGE[: 5 * 2**20] + b"end"
        assert error_code(s3.abort_multipart_upload, **upload) == "NoSuchUpload"


def test_body_of_unknown_length_is_sent_in_chunks(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        target = {"Bucket": BUCKET, "Key": "chunks"}
        pieces = (LARGE[start : start + 100_000] for start in range(0, 2_000_000, 100_000))
        sent = httpx.put(s3.generate_presigned_url("put_object", target), content=pieces)

        assert (sent.status_code, sent.request.headers["transfer-encoding"]) == (200, "chunked")
        assert s3.get_object(**target)["Body"].read() == LARGE[:2_000_000]


def test_body_is_read_while_it_arrives(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        s3.put_object(Bucket=BUCKET, Key="large", Body=LARGE)
        with closing(s3.get_object(Bucket=BUCKET, Key="large")["Body"]) as body:
            assert next(body.iter_chunks(1000)) == LARGE[:1000]
        # The connection is given up with the rest; the next call is served all the same.
        assert s3.get_object(Bucket=BUCKET, Key="large")["Body"].read() == LARGE


def test_browser_uploads_by_a_signed_form(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        form = s3.generate_presigned_post(BUCKET, "form/${filename}")
        posted = httpx.post(form["url"], data=form["fields"], files={"file": ("é.bin", LARGE[:700_000])})

        assert posted.status_code == 204
        assert s3.list_objects_v2(Bucket=BUCKET)["Contents"][0]["Size"] == 700_000


def test_versions_copies_and_deletions(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        first = s3.put_object(Bucket=BUCKET, Key=ODD_KEY, Body=b"first")["VersionId"]
        s3.put_object(Bucket=BUCKET, Key=ODD_KEY, Body=b"second")
        s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": ODD_KEY, "VersionId": first})
        deleted = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": ODD_KEY}, {"Key": "nothing"}]})

        assert s3.get_object(Bucket=BUCKET, Key="copy")["Body"].read() == b"first"
        assert {item["Key"] for item in deleted["Deleted"]} == {ODD_KEY, "nothing"}
        assert error_code(s3.get_object, Bucket=BUCKET, Key=ODD_KEY) == "NoSuchKey"
        assert s3.get_object(Bucket=BUCKET, Key=ODD_KEY, VersionId=first)["Body"].read() == b"first"
        assert error_code(s3.delete_bucket, Bucket=BUCKET) == "BucketNotEmpty"


def test_list_is_paged(clouds: Clouds) -> None:
    for cloud in clouds():
        s3 = open_bucket(cloud)
        for number in range(5):
            s3.put_object(Bucket=BUCKET, Key=f"{number % 2}/é {number}", Body=b"")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2})
        folders = s3.list_objects_v2(Bucket=BUCKET, Delimiter="/")["CommonPrefixes"]

        assert [[item["Key"] for item in page["Contents"]] for page in pages] == [
            ["0/é 0", "0/é 2"],
            ["0/é 4", "1/é 1"],
            ["1/é 3"],
        ]
        assert folders == [{"Prefix": "0/"}, {"Prefix": "1/"}]


def test_queue(clouds: Clouds) -> None:
    for cloud in clouds():
        sqs = cloud.connect("sqs")
        url = sqs.create_queue(QueueName="desk")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="é <&> 1", MessageAttributes=_attribute("city"))
        batch = [{"Id": str(number), "MessageBody": f"batch {number}"} for number in range(3)]
        sqs.send_message_batch(QueueUrl=url, Entries=batch)
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])["Messages"]
        for message in received:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

        assert [message["Body"] for message in received] == ["é <&> 1", "batch 0", "batch 1", "batch 2"]
        assert received[0]["MessageAttributes"] == _attribute("city")
        assert "Messages" not in sqs.receive_message(QueueUrl=url)
        assert error_code(sqs.get_queue_url, QueueName="none") == "AWS.SimpleQueueService.NonExistentQueue"


def _attribute(value: str) -> dict[str, Any]:
    return {"desk": {"DataType": "String", "StringValue": value}}


def test_table(clouds: Clouds) -> None:
    for cloud in clouds():
        dynamodb = cloud.connect("dynamodb")
        dynamodb.create_table(
            TableName="articles",
            KeySchema=[{"AttributeName": "desk", "KeyType": "HASH"}, {"AttributeName": "number", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "desk", "AttributeType": "S"},
                {"AttributeName": "number", "AttributeType": "N"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        items = [_article(number) for number in range(4)]
        for item in items:
            dynamodb.put_item(TableName="articles", Item=item)
        found = dynamodb.query(
            TableName="articles",
            KeyConditionExpression="desk = :desk AND #number > :number",
            ExpressionAttributeNames={"#number": "number"},
            ExpressionAttributeValues={":desk": {"S": "città"}, ":number": {"N": "1"}},
        )
        pages = dynamodb.get_paginator("scan").paginate(TableName="articles", PaginationConfig={"PageSize": 3})
        twice = error_code(
            dynamodb.put_item,
            TableName="articles",
            Item=items[0],
            ConditionExpression="attribute_not_exists(desk)",
        )

        assert found["Items"] == items[2:]
        assert [page["Count"] for page in pages] == [3, 1]
        assert twice == "ConditionalCheckFailedException"


def _article(number: int) -> dict[str, Any]:
    return {
        "desk": {"S": "città"},
        "number": {"N": str(number)},
        "raw": {"B": bytes(range(256))},
        "tags": {"SS": ["x"]},
    }

use super::super::wire::tests::call;
use super::*;

fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let frame = |part: &&[u8]| [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat();
    parts.iter().flat_map(frame).collect()
}

async fn read(bytes: &[u8], framed: bool) -> Result<Vec<usize>, Ended> {
    let mut inbound = Inbound::new(bytes, 1 << 20);
    inbound.begin(framed);
    let mut lengths = Vec::new();
    while let Some(message) = inbound.next(Duration::from_secs(1)).await? {
        lengths.push(message.len());
    }
    Ok(lengths)
}

#[tokio::test]
async fn frames_are_a_stream_cut_anywhere() {
    // hs2#6
    let one = call("GetInfo", |out| out.text(2, "x"));
    let (a, rest) = one.split_at(3);
    let (b, c) = rest.split_at(10);
    assert_eq!(read(&framed(&[a, b, c]), true).await.unwrap(), [one.len()]);
    let two = [one.clone(), one.clone()].concat();
    assert_eq!(
        read(&framed(&[&two]), true).await.unwrap(),
        [one.len(), one.len()]
    );
    assert_eq!(read(&framed(&[b"", &one, b""]), true).await.unwrap(), [one.len()]);
    assert_eq!(read(&two, false).await.unwrap(), [one.len(), one.len()]);
}

#[tokio::test]
async fn i8_what_is_too_large_is_refused_before_it_is_there() {
    // hs2#4, hs2#38
    assert!(matches!(
        read(&[0x7f, 0, 0, 0], true).await,
        Err(Ended::TooLarge(_))
    ));
    let mut long = call("x", |out| out.field(wire::kind::TEXT, 1));
    long.truncate(long.len() - 2);
    long.extend((2u32 << 20).to_be_bytes());
    assert!(matches!(read(&long, false).await, Err(Ended::TooLarge(_))));
    let one = call("x", |_| {});
    assert!(matches!(
        read(&one[..one.len() - 1], false).await,
        Err(Ended::Broken(_))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_in_a_message_is_given_up() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut inbound = Inbound::new(server, 1 << 20);
    inbound.begin(false);
    tokio::io::AsyncWriteExt::write_all(&mut client, &[0x80, 1])
        .await
        .unwrap();
    assert!(matches!(
        inbound.next(Duration::from_secs(9999)).await,
        Err(Ended::Silent)
    ));
}

#[tokio::test]
async fn i8_a_connection_that_is_idle_keeps_little_room() {
    let long = call("GetInfo", |out| out.text(2, &"x".repeat(1 << 20)));
    for is_framed in [true, false] {
        let (mut client, server) = tokio::io::duplex(4 << 20);
        let mut inbound = Inbound::new(server, 2 << 20);
        inbound.begin(is_framed);
        let sent = if is_framed {
            framed(&[long.as_slice()])
        } else {
            long.clone()
        };
        tokio::io::AsyncWriteExt::write_all(&mut client, &sent)
            .await
            .unwrap();
        let read = inbound.next(Duration::from_secs(1)).await.unwrap().unwrap();
        assert_eq!(read.len(), long.len());
        let waiting = inbound.next(Duration::from_secs(9999));
        assert!(futures_util::FutureExt::now_or_never(waiting).is_none());
        let kept = inbound.raw.capacity() + inbound.messages.capacity();
        assert!(kept <= 8 << 10, "{kept} bytes");
    }
}

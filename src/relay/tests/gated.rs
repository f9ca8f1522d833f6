//! What the gate before the first bytes does to a connection.

use super::*;

/// Relays past a gate that lets everything pass but "leave"; returns the client's side as well.
fn gated(
    mut client: TcpStream,
    link: Link,
    meter: Arc<Meter>,
) -> JoinHandle<(End, TcpStream, Arc<Meter>)> {
    tokio::spawn(async move {
        let gate = |first: &[u8]| first != b"leave";
        let end = relay(&mut client, link, &meter, &Limits::default(), Some(&gate)).await;
        (end, client, meter)
    })
}

#[tokio::test]
async fn what_the_gate_turns_away_is_whole_and_the_link_saw_none_of_it() {
    for kind in KINDS {
        // Late: a shadowsocks server has the address by then.
        for late in [false, true] {
            let (mut program, client) = tcp_pair().await;
            let (near, far) = tcp_pair().await;
            if !late {
                program.write_all(b"leave").await.unwrap();
            }
            let relay = gated(client, link(kind, near, b""), Arc::default());
            let mut server: Box<dyn Stream> = match late {
                true => far_end(kind, far).await.unwrap(),
                false => Box::new(far),
            };
            if late {
                program.write_all(b"leave").await.unwrap();
            }
            let turned = timeout(Duration::from_secs(20), relay).await.expect("in time");
            let (end, mut client, meter) = turned.unwrap();
            assert!(matches!(end, End::Turned), "{kind:?}: {end:?}");
            assert_eq!((meter.up.get(), meter.down.get()), (0, 0));
            assert!(!matches!(server.read(&mut [0]).await, Ok(1)), "{kind:?}: payload");
            let mut whole = [0; 5];
            client.read_exact(&mut whole).await.unwrap();
            assert_eq!(&whole, b"leave");
            // It is as it was: its close is no reset.
            drop(client);
            assert_eq!(program.read(&mut [0; 9]).await.unwrap(), 0, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_gate_holds_neither_the_client_nor_a_server_that_speaks_first() {
    for kind in KINDS {
        let (mut program, client) = tcp_pair().await;
        let (near, far) = tcp_pair().await;
        let relay = gated(client, link(kind, near, b""), Arc::default());
        let server = timeout(Duration::from_secs(5), far_end(kind, far));
        let mut server = server.await.expect("the address").unwrap();
        server.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        program.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        for said in [b"first", b"leave"] {
            program.write_all(said).await.unwrap();
            server.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, said, "{kind:?}");
        }
        drop(program);
        assert_eq!(server.read(&mut heard).await.unwrap(), 0);
        drop(server);
        let (end, _, meter) = relay.await.unwrap();
        assert!(matches!(end, End::Closed), "{kind:?}: {end:?}");
        assert_eq!((meter.up.get(), meter.down.get()), (10, 5));
    }
}

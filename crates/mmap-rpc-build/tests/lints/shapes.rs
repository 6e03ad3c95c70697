//! A service with streams, implemented by both of its traits and called.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec;

use mmap_rpc::{Server, ServerBuilder, Streaming, testing};

use crate::streams::streams::{
    self, BlockingFiles, Files, FilesClient, FilesServer, Folder, ListStream, Result as Answer,
    Stream as Line,
};

type Request<T> = mmap_rpc::Request<T>;
type Handled<T> = Result<mmap_rpc::Response<T>, mmap_rpc::Status>;
type Item<T> = Result<T, mmap_rpc::Status>;

/// Implements both traits alike.
struct Disk;

/// A stream of what is there already.
struct Ready<T>(vec::IntoIter<Item<T>>);

impl<T> Unpin for Ready<T> {}

impl<T> mmap_rpc::Stream for Ready<T> {
    type Item = Item<T>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}

/// Answers to the lines of a stream.
struct Answers(Streaming<Line>);

impl mmap_rpc::Stream for Answers {
    type Item = Item<Answer>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map(|line| line.map(|line| line.map(answer)))
    }
}

/// Files of a folder, named after it.
fn files(folder: &Folder) -> Vec<Item<ListStream>> {
    (1..=3).map(|number| Ok(ListStream { name: format!("{}/{number}", folder.name) })).collect()
}

fn answer(line: Line) -> Answer {
    Answer { text: line.text.to_uppercase() }
}

impl BlockingFiles for Disk {
    fn look(&self, folder: Request<Folder>) -> Handled<ListStream> {
        Ok(ListStream { name: folder.into_inner().name }.into())
    }

    type ListStream = Vec<Item<ListStream>>;

    fn list(&self, folder: Request<Folder>) -> Handled<Self::ListStream> {
        Ok(files(folder.get_ref()).into())
    }

    fn upload(&self, parts: Request<Streaming<streams::Streaming>>) -> Handled<streams::Response> {
        let mut stored = 0;
        for part in parts.into_inner() {
            stored += part?.data.len() as u64;
        }
        Ok(streams::Response { stored }.into())
    }

    // Neither `Send` nor of a nameable type: a handler's iterator stays on its thread.
    type ChatStream = Box<dyn Iterator<Item = Item<Answer>>>;

    fn chat(&self, lines: Request<Streaming<Line>>) -> Handled<Self::ChatStream> {
        let answers: Self::ChatStream = Box::new(lines.into_inner().into_iter().map(|line| line.map(answer)));
        Ok(answers.into())
    }

    type ListOldStream = Self::ListStream;

    fn list_old(&self, folder: Request<Folder>) -> Handled<Self::ListOldStream> {
        BlockingFiles::list(self, folder)
    }

    fn upload_old(&self, parts: Request<Streaming<streams::Streaming>>) -> Handled<streams::Response> {
        BlockingFiles::upload(self, parts)
    }

    type ChatOldStream = Self::ChatStream;

    fn chat_old(&self, lines: Request<Streaming<Line>>) -> Handled<Self::ChatOldStream> {
        BlockingFiles::chat(self, lines)
    }
}

impl Files for Disk {
    async fn look(&self, folder: Request<Folder>) -> Handled<ListStream> {
        BlockingFiles::look(self, folder)
    }

    type ListStream = Ready<ListStream>;

    async fn list(&self, folder: Request<Folder>) -> Handled<Self::ListStream> {
        Ok(Ready(files(folder.get_ref()).into_iter()).into())
    }

    async fn upload(&self, parts: Request<Streaming<streams::Streaming>>) -> Handled<streams::Response> {
        let (mut parts, mut stored) = (parts.into_inner(), 0);
        while let Some(part) = parts.message().await? {
            stored += part.data.len() as u64;
        }
        Ok(streams::Response { stored }.into())
    }

    type ChatStream = Answers;

    async fn chat(&self, lines: Request<Streaming<Line>>) -> Handled<Self::ChatStream> {
        Ok(Answers(lines.into_inner()).into())
    }

    type ListOldStream = Self::ListStream;

    async fn list_old(&self, folder: Request<Folder>) -> Handled<Self::ListOldStream> {
        Files::list(self, folder).await
    }

    async fn upload_old(&self, parts: Request<Streaming<streams::Streaming>>) -> Handled<streams::Response> {
        Files::upload(self, parts).await
    }

    type ChatOldStream = Self::ChatStream;

    async fn chat_old(&self, lines: Request<Streaming<Line>>) -> Handled<Self::ChatOldStream> {
        Files::chat(self, lines).await
    }
}

/// Each shape is called once, through the method itself and through the deprecated one.
pub(crate) fn streams_of_every_shape_travel() -> Result<(), Box<dyn Error>> {
    travel(Server::builder().service(FilesServer::blocking(Disk)))?;
    travel(Server::builder().service(FilesServer::new(Disk)))
}

fn travel(server: ServerBuilder) -> Result<(), Box<dyn Error>> {
    let pair = testing::pair(server)?;
    let client = FilesClient::new(pair.channel());
    let folder = Folder { name: "folder".into() };
    assert_eq!(client.look(folder.clone()).wait()?.into_inner().name, "folder");

    #[expect(deprecated, reason = "the method is")]
    let lists = [client.list(folder.clone()), client.list_old(folder)];
    for list in lists {
        let listed: Item<Vec<_>> = list.wait()?.into_inner().into_iter().collect();
        let names = listed?.into_iter().map(|file| file.name);
        assert!(names.eq(["folder/1", "folder/2", "folder/3"]));
    }

    #[expect(deprecated, reason = "the method is")]
    let uploads = [client.upload(), client.upload_old()];
    for upload in uploads {
        let (mut parts, reply) = upload.wait()?;
        for size in [1, 0, 1000] {
            parts.send(streams::Streaming { data: vec![7; size].into() }).wait()?;
        }
        drop(parts);
        assert_eq!(reply.wait()?.into_inner().stored, 1001);
    }

    #[expect(deprecated, reason = "the method is")]
    let chats = [client.chat(), client.chat_old()];
    for chat in chats {
        let (mut lines, mut answers) = chat.wait()?;
        for text in ["one", "two"] {
            lines.send(Line { text: text.into() }).wait()?;
            let answer = answers.message().wait()?.ok_or("an answer to each line")?;
            assert_eq!(answer.text, text.to_uppercase());
        }
        drop(lines);
        assert!(answers.message().wait()?.is_none());
    }
    Ok(())
}

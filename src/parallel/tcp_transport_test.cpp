// Tests of the transport through TCP, on ranks that are threads: who comes in, what is exchanged, who is missed.
#include "parallel/tcp_transport.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <thread>

#include "base/fail.h"
#include "base/test_errors.h"
#include "parallel/communicator.h"
#include "parallel/reception.h"
#include "parallel/rendezvous_file.h"

namespace mslt {
namespace {

namespace fs = std::filesystem;
using boost::asio::ip::tcp;

constexpr std::chrono::milliseconds test_patience{20'000};

class TcpTransportTest : public testing::Test {
 protected:
  TcpTransportTest() {
    std::string pattern = (fs::temp_directory_path() / "mslt_tcp_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
  }
  ~TcpTransportTest() override { fs::remove_all(folder_); }

  Rendezvous meeting(int rank, int size) const {
    Rendezvous rendezvous;
    rendezvous.rank = rank;
    rendezvous.size = size;
    rendezvous.file = folder_ / "meeting";
    rendezvous.on_one_host = true;
    rendezvous.patience = test_patience;
    return rendezvous;
  }

  // What rank 0 has written, once it has.
  Place written_place() const {
    while (true) {
      if (const std::optional<Place> place = read_place(folder_ / "meeting")) return *place;
      std::this_thread::yield();
    }
  }

  static tcp::endpoint endpoint_of(const Place& place) {
    return {boost::asio::ip::make_address(place.address.host), place.address.port};
  }

  // Runs `work` on each rank; returns what each rank's error said.
  static std::vector<std::string> on_ranks(int size, const std::function<Rendezvous(int)>& meet_at,
                                           const std::function<void(Communicator&)>& work) {
    std::vector<std::string> errors(static_cast<std::size_t>(size));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        std::unique_ptr<Communicator> communicator;
        try {
          communicator = std::make_unique<Communicator>(make_tcp_transport(meet_at(rank), test_patience));
          work(*communicator);
        } catch (const std::exception& error) {
          if (communicator) communicator->tell_failure(error);
          errors[static_cast<std::size_t>(rank)] = error.what();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return errors;
  }

  fs::path folder_;
};

TEST_F(TcpTransportTest, ReplacesNoFileOfOthers) {
  std::ofstream(folder_ / "meeting") << "precious\n";
  const std::string message =
      test::error_of(ErrorKind::usage, [&] { make_tcp_transport(meeting(0, 2), test_patience); });
  EXPECT_NE(message.find("exists and is no meeting of mslt"), std::string::npos) << message;
  std::ifstream file(folder_ / "meeting");
  std::string kept;
  std::getline(file, kept);
  EXPECT_EQ(kept, "precious");
}

TEST_F(TcpTransportTest, ExchangesBetweenAllRanks) {
  // A file of a run before, at whose address nobody listens.
  std::ofstream(folder_ / "meeting") << "mslt-rendezvous 127.0.0.1 1 old\n";
  const auto errors = on_ranks(
      4, [&](int rank) { return meeting(rank, 4); },
      [&](Communicator& communicator) {
        std::vector<float> values(100'003, static_cast<float>(communicator.rank() + 1));
        communicator.sum(values);
        for (const float value : values) ASSERT_EQ(value, 10.0f);
        EXPECT_EQ(communicator.gather(std::to_string(communicator.rank())),
                  (std::vector<std::string>{"0", "1", "2", "3"}));
        EXPECT_EQ(communicator.broadcast(communicator.leads() ? "first" : ""), "first");
      });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
  EXPECT_FALSE(fs::exists(folder_ / "meeting"));
}

TEST_F(TcpTransportTest, AFailureEndsTheWaitOfAllOthers) {
  const auto errors = on_ranks(
      3, [&](int rank) { return meeting(rank, 3); },
      [](Communicator& communicator) {
        communicator.barrier();
        if (communicator.rank() == 1) fail(ErrorKind::memory, "The model does not fit.");
        communicator.barrier();
      });
  EXPECT_TRUE(errors[0].starts_with("Rank 1 on ")) << errors[0];
  EXPECT_TRUE(errors[0].ends_with(": The model does not fit.")) << errors[0];
  EXPECT_EQ(errors[2], errors[0]);
}

TEST_F(TcpTransportTest, OnlyTheUserMayReadTheToken) {
  const auto errors = on_ranks(
      2,
      [&](int rank) {
        if (rank == 1) {
          while (!fs::exists(folder_ / "meeting")) std::this_thread::yield();
          struct stat status{};
          EXPECT_EQ(::stat((folder_ / "meeting").c_str(), &status), 0);
          EXPECT_EQ(status.st_mode & 0777, 0600U);
        }
        return meeting(rank, 2);
      },
      [](Communicator& communicator) { communicator.barrier(); });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST_F(TcpTransportTest, StrangersAreNotLetIn) {
  const auto errors = on_ranks(
      2,
      [&](int rank) {
        if (rank == 0) return meeting(rank, 2);
        // One that says nothing, one that says something else, and one of another run.
        const Place place = written_place();
        boost::asio::io_context io;
        const tcp::endpoint endpoint = endpoint_of(place);
        tcp::socket silent(io);
        silent.connect(endpoint);
        tcp::socket loud(io);
        loud.connect(endpoint);
        boost::asio::write(loud, boost::asio::buffer("GET / HTTP/1.1\r\n\r\n" + std::string(4096, 'x')));
        Rendezvous other = meeting(1, 2);
        other.file.clear();
        other.address = place.address;
        other.token = "guessed";
        other.patience = std::chrono::milliseconds(1000);
        try {
          make_tcp_transport(other, test_patience);
          ADD_FAILURE() << "A process of another run was let in.";
        } catch (const Error& error) {
          EXPECT_NE(std::string(error.what()).find("what listens there is of another run"), std::string::npos)
              << error.what();
        }
        return meeting(rank, 2);
      },
      [](Communicator& communicator) { communicator.barrier(); });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST_F(TcpTransportTest, SaysWhoDidNotCome) {
  const auto errors = on_ranks(
      1,
      [&](int rank) {
        Rendezvous rendezvous = meeting(rank, 3);
        rendezvous.patience = std::chrono::milliseconds(100);
        return rendezvous;
      },
      [](Communicator&) {});
  EXPECT_NE(errors[0].find("Of 3 processes, ranks 1, 2 did not come"), std::string::npos) << errors[0];
}

TEST_F(TcpTransportTest, RefusesAnotherNumberOfProcesses) {
  const auto errors = on_ranks(2, [&](int rank) { return meeting(rank, 2 + rank); }, [](Communicator&) {});
  EXPECT_NE(errors[0].find("was told of 3 processes, rank 0 of 2."), std::string::npos) << errors[0];
  EXPECT_TRUE(errors[1].starts_with("Rank 0 at ") && errors[1].ends_with("was told of 3 processes, rank 0 of 2."))
      << errors[1];
}

TEST_F(TcpTransportTest, ASilentListenerHoldsUpNobody) {
  // The file of a run before, whose port another program has now.
  boost::asio::io_context io;
  tcp::acceptor other(io, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  std::ofstream(folder_ / "meeting") << "mslt-rendezvous 127.0.0.1 " << other.local_endpoint().port() << " old\n";
  std::optional<tcp::socket> silent;
  const auto errors = on_ranks(
      2,
      [&](int rank) {
        if (rank == 0) silent = other.accept();
        Rendezvous rendezvous = meeting(rank, 2);
        rendezvous.patience_of_try = std::chrono::milliseconds(100);
        return rendezvous;
      },
      [](Communicator& communicator) { communicator.barrier(); });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST_F(TcpTransportTest, ManySilentStrangersAreSentAway) {
  const auto errors = on_ranks(
      2,
      [&](int rank) {
        if (rank == 0) return meeting(rank, 2);
        boost::asio::io_context io;
        const Place place = written_place();
        std::vector<tcp::socket> strangers;
        for (int i = 0; i < 100; ++i) {
          strangers.emplace_back(io).connect(endpoint_of(place));
        }
        // Sooner than for its silence alone.
        const timeval patience{.tv_sec = 3, .tv_usec = 0};
        EXPECT_EQ(::setsockopt(strangers[0].native_handle(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
        char nothing = 0;
        EXPECT_EQ(::recv(strangers[0].native_handle(), &nothing, 1, 0), 0) << "The first one is still there.";
        return meeting(rank, 2);
      },
      [](Communicator& communicator) { communicator.barrier(); });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST_F(TcpTransportTest, ARankThatGaveUpComesAgain) {
  const auto errors = on_ranks(
      2,
      [&](int rank) {
        if (rank == 0) return meeting(rank, 2);
        boost::asio::io_context io;
        const Place place = written_place();
        Hello hello;
        copy_text(place.token, hello.token);
        hello.size = 2;
        hello.rank = 1;
        hello.identity = Identity::own();
        // One is let in and leaves, one leaves before it hears that.
        for (const bool is_heard : {true, false}) {
          tcp::socket socket(io);
          socket.connect(endpoint_of(place));
          boost::asio::write(socket, boost::asio::buffer(&hello, sizeof hello));
          Answer answer;
          if (is_heard) boost::asio::read(socket, boost::asio::buffer(&answer, sizeof answer));
          EXPECT_EQ(answer.verdict, Answer::Verdict::welcome);
        }
        return meeting(rank, 2);
      },
      [](Communicator& communicator) { communicator.barrier(); });
  for (const std::string& error : errors) EXPECT_EQ(error, "");
}

TEST_F(TcpTransportTest, SaysWhoIsAwaited) {
  for (const int rank : {0, 1}) {
    std::vector<std::string> said;
    Rendezvous rendezvous = meeting(rank, 3);
    rendezvous.patience = std::chrono::milliseconds(400);
    rendezvous.quiet = std::chrono::milliseconds(50);
    rendezvous.tell = [&said](const std::string& sentence) {
      said.push_back(sentence);
    };
    test::error_of(ErrorKind::io, [&] { make_tcp_transport(rendezvous, test_patience); });
    ASSERT_EQ(said.size(), 1U);
    const std::string awaited =
        rank == 0 ? "Rank 0 waits for ranks 1, 2 at " + rendezvous.file.string() + ": 1 of 3 processes are here"
                  : "Rank 1 waits for rank 0 at " + rendezvous.file.string() + ": rank 0 has not written the file";
    EXPECT_EQ(said[0], awaited + " (for 1 s more).");
  }
}

TEST_F(TcpTransportTest, WhatLooksEndsTheWaitOfEachRank) {
  boost::asio::io_context io;
  tcp::acceptor silent(io, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  for (const int rank : {0, 1, 2}) {
    Rendezvous rendezvous = meeting(rank, 3);
    if (rank == 2) {
      rendezvous.file.clear();
      rendezvous.address = {"127.0.0.1", silent.local_endpoint().port()};
    }
    rendezvous.look = [] {
      fail(ErrorKind::device, "The parent has ended.");
    };
    EXPECT_EQ(test::error_of(ErrorKind::device, [&] { make_tcp_transport(rendezvous, test_patience); }),
              "The parent has ended.");
  }
}

}  // namespace
}  // namespace mslt

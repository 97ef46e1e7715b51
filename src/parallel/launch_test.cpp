// Tests of what launchers' variables say.
#include "parallel/launch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <utility>

#include "base/test_errors.h"
#include "parallel/address.h"

namespace mslt {
namespace {

Launch launch_of(const std::map<std::string, std::string>& variables, const std::string& rendezvous = "") {
  return find_launch(rendezvous, [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  });
}

TEST(Launch, AProcessWithoutALauncherIsAlone) {
  for (const auto& variables : std::vector<std::map<std::string, std::string>>{
           {},
           {{"RANK", "0"}, {"WORLD_SIZE", "1"}},
           {{"OMPI_COMM_WORLD_SIZE", "1"}, {"OMPI_COMM_WORLD_RANK", "0"}},
           {{"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "1"}, {"SLURM_PROCID", "0"}}}) {
    const Launch launch = launch_of(variables);
    EXPECT_EQ(launch.through, Launch::Through::nothing);
    EXPECT_EQ(launch.size, 1);
  }
}

TEST(Launch, ReadsTheVariablesOfEachLauncher) {
  const Launch mpi =
      launch_of({{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}});
  EXPECT_EQ(mpi.through, Launch::Through::mpi);
  EXPECT_EQ(mpi.size, 4);
  EXPECT_EQ(mpi.local_rank, 1);

  std::map<std::string, std::string> torchrun = {{"RANK", "5"},         {"WORLD_SIZE", "8"},
                                                 {"LOCAL_RANK", "1"},   {"LOCAL_WORLD_SIZE", "4"},
                                                 {"MASTER_ADDR", "n1"}, {"MASTER_PORT", "99"}};
  const Launch torch = launch_of(torchrun);
  EXPECT_EQ(torch.through, Launch::Through::tcp);
  EXPECT_EQ(torch.rendezvous.rank, 5);
  EXPECT_EQ(torch.rendezvous.size, 8);
  EXPECT_EQ(torch.local_rank, 1);
  EXPECT_EQ(torch.rendezvous.address.host, "n1");
  EXPECT_EQ(torch.rendezvous.address.port, 99);
  EXPECT_FALSE(torch.rendezvous.on_one_host);
  torchrun["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  EXPECT_EQ(launch_of(torchrun).rendezvous.address.port, 100);

  const Launch slurm = launch_of({{"SLURM_STEP_NUM_TASKS", "2"},
                                  {"SLURM_PROCID", "1"},
                                  {"SLURM_LOCALID", "0"},
                                  {"SLURM_JOB_ID", "7"},
                                  {"SLURM_STEP_ID", "3"}},
                                 "/shared/meeting");
  EXPECT_EQ(slurm.through, Launch::Through::tcp);
  EXPECT_EQ(slurm.rendezvous.rank, 1);
  EXPECT_EQ(slurm.rendezvous.file, "/shared/meeting");
  EXPECT_EQ(slurm.rendezvous.token, "7.3");
}

TEST(Launch, RefusesWhatCannotBe) {
  const auto message = [](const std::map<std::string, std::string>& variables, const std::string& rendezvous = "") {
    return test::error_of(ErrorKind::usage, [&] { launch_of(variables, rendezvous); });
  };
  EXPECT_NE(message({{"RANK", "2"}, {"WORLD_SIZE", "2"}}).find("RANK is 2, but WORLD_SIZE says"), std::string::npos);
  EXPECT_NE(message({{"RANK", "x"}, {"WORLD_SIZE", "2"}}).find("RANK is 'x'"), std::string::npos);
  EXPECT_NE(message({{"RANK", "1"}, {"WORLD_SIZE", "2"}}).find("--rendezvous HOST:PORT"), std::string::npos);
  for (const char* place : {"127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", ":4444", "[::1", "::1:80", "tcp://a:1"}) {
    EXPECT_NE(message({{"RANK", "1"}, {"WORLD_SIZE", "2"}}, place).find("is no address"), std::string::npos) << place;
  }
  EXPECT_TRUE(message({}, "localhost:1").starts_with("--rendezvous is for one of several processes, but no variable"));
  EXPECT_TRUE(message({{"MSLT_RENDEZVOUS", "here"}}).starts_with("The variable MSLT_RENDEZVOUS is for one of several"));
}

TEST(Launch, RefusesIncompleteVariables) {
  const std::pair<const char*, const char*> all[] = {{"WORLD_SIZE", "RANK"},
                                                     {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                                                     {"PMI_SIZE", "PMI_RANK"},
                                                     {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};
  for (const auto& [size, rank] : all) {
    const auto message = [](const std::map<std::string, std::string>& variables) {
      return test::error_of(ErrorKind::usage, [&] { launch_of(variables); });
    };
    EXPECT_TRUE(
        message({{size, "2"}}).starts_with(fmt::format("The variable {} is 2, but {} is not set.", size, rank)));
    EXPECT_TRUE(
        message({{rank, "1"}}).starts_with(fmt::format("The variable {} is 1, but {} is not set.", rank, size)));
    EXPECT_EQ(launch_of({{size, "1"}}).through, Launch::Through::nothing);
  }
  // As in a batch script of Slurm.
  EXPECT_EQ(launch_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).through, Launch::Through::nothing);
}

TEST(Launch, AChildLooksWhetherItsParentLives) {
  std::map<std::string, std::string> variables = {{"RANK", "1"},
                                                  {"WORLD_SIZE", "2"},
                                                  {"MSLT_RENDEZVOUS", "127.0.0.1:80"},
                                                  {"MSLT_PARENT", std::to_string(::getppid())}};
  const Launch child = launch_of(variables);
  EXPECT_TRUE(child.is_child);
  child.rendezvous.look();
  variables["MSLT_PARENT"] = std::to_string(::getpid());
  const Launch orphan = launch_of(variables);
  EXPECT_NE(
      test::error_of(ErrorKind::device, [&] { orphan.rendezvous.look(); }).find("which started this one, has ended"),
      std::string::npos);
}

TEST(Launch, ReadsAddresses) {
  EXPECT_EQ(address_from("node1:29500")->host, "node1");
  EXPECT_EQ(address_from("node1:29500")->port, 29500);
  EXPECT_EQ(address_from("[::1]:80")->host, "::1");
  EXPECT_EQ(text_of(*address_from("[::1]:80")), "[::1]:80");
  for (const char* text : {"", "node1", ":80", "node1:", "node1:0", "node1:70000", "node1:8x", "::1:80", "/a/file"}) {
    EXPECT_FALSE(address_from(text)) << text;
  }
}

}  // namespace
}  // namespace mslt
